//! Resources of one kind have different names.

use std::collections::HashMap;

use crate::{error::ReadError, source::Source, view::View};

/// Refuses a second resource of one name; resources without a name have none.
pub(crate) fn check(
    views: &[View<'_>],
    field: &'static str,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let mut seen: HashMap<&str, &View<'_>> = HashMap::with_capacity(views.len());
    for view in views {
        let name = view.text(field);
        if name.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(name, view) {
            let kind = view.message.name.rsplit('.').next().unwrap_or_default();
            return Err(source.invalid(
                &view.path.field(field),
                format!(
                    "a second {kind} named {name:?}; the first is {}",
                    first.path
                ),
            ));
        }
    }
    Ok(())
}
