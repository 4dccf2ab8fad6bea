//! One walk over a resource's bytes: it verifies them, validates them as Envoy does, and sorts
//! each field into decided, read over and unsupported.

mod messages;
mod rules;

use crate::{
    classify::{self, Context, Rule, Table, Verdict},
    error::ReadError,
    form::BOOTSTRAP,
    matcher_tree::ROUTE,
    path::{Path, Segment},
    rbac_matcher,
    report::{Effect, Finding, FindingKind, Report},
    schema::{Field, Message, Special},
    snapshot::Unsupported,
    source::Source,
    validate,
    view::{AnyView, View},
    wire::{self, Raw},
};

/// How deep messages may nest: what the decoder of the typed messages takes.
const MAX_DEPTH: usize = 95;

/// How deep messages may nest through Any: what the stack holds with room to spare.
const MAX_TOTAL_DEPTH: usize = 200;

/// Walks over one resource.
pub(crate) struct Walker<'w> {
    pub(crate) source: &'w Source<'w>,
    /// Findings go here.
    pub(crate) report: &'w mut Report,
    /// The resource's name with its type, for findings.
    pub(crate) resource: String,
    /// Whether Envoy would validate it: not what Envoy wrote itself.
    pub(crate) validate: bool,
    /// What a field's verdict may depend on, besides its message.
    pub(crate) context: Context,
    path: Path,
    /// Length of the path to the resource itself.
    root: usize,
    depth: usize,
    total_depth: usize,
    scopes: Vec<Scope>,
    /// What the wrapper says that is not decided, of all requests.
    of_wrapper: Option<Unsupported>,
}

/// What a part of a resource came to: the resource itself, a filter chain, a route.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The field of the part above that it stands in.
    pub(crate) field: &'static str,
    /// The path to it, from the resource's root.
    pub(crate) path: String,
    /// Why it is not decided.
    pub(crate) unsupported: Option<Unsupported>,
    /// The parts inside that have a verdict of their own, in order.
    pub(crate) parts: Vec<Scope>,
}

impl Scope {
    /// The parts that stand in this field.
    pub(crate) fn parts_of(&mut self, field: &str) -> Vec<Scope> {
        let (found, rest) = std::mem::take(&mut self.parts)
            .into_iter()
            .partition(|part| part.field == field);
        self.parts = rest;
        found
    }
}

/// How the fields of a message are taken.
#[derive(Clone, Copy)]
enum Mode {
    /// By a table.
    Decide(&'static Table),
    /// All are read over.
    ReadOver,
    /// They belong to something that is not decided.
    Unsupported,
}

impl<'w> Walker<'w> {
    pub(crate) fn new(
        source: &'w Source<'w>,
        report: &'w mut Report,
        resource: String,
        validate: bool,
    ) -> Walker<'w> {
        Walker {
            source,
            report,
            resource,
            validate,
            context: Context::default(),
            path: Path::default(),
            root: 0,
            depth: 0,
            total_depth: 0,
            scopes: Vec::new(),
            of_wrapper: None,
        }
    }

    /// Walks over a resource by its table.
    ///
    /// # Errors
    /// The bytes are not the message, or Envoy would refuse it.
    pub(crate) fn resource(mut self, view: &View<'_>) -> Result<Scope, ReadError> {
        let mode = match classify::table(&view.message.name) {
            Some(table) => Mode::Decide(table),
            None => Mode::ReadOver,
        };
        self.path = view.path.clone();
        self.root = self.path.len();
        self.scopes.push(Scope::default());
        self.message(view, mode)?;
        Ok(self.scopes.pop().unwrap_or_default())
    }

    /// Walks over what holds resources, not over the resources themselves. What in it makes all
    /// requests undecided is returned.
    ///
    /// # Errors
    /// The bytes are not the message.
    pub(crate) fn wrapper(mut self, view: &View<'_>) -> Result<Option<Unsupported>, ReadError> {
        self.path = view.path.clone();
        self.root = self.path.len();
        self.message(view, Mode::ReadOver)?;
        Ok(self.of_wrapper)
    }

    fn finding(&mut self, kind: FindingKind, effect: Effect, message: impl Into<String>) {
        let path = self.path.from(self.root);
        self.finding_at(path, kind, effect, message.into());
    }

    fn finding_at(&mut self, path: String, kind: FindingKind, effect: Effect, message: String) {
        let finding = Finding {
            resource: self.resource.clone(),
            path,
            kind,
            effect,
            message,
        };
        if effect == Effect::Unsupported {
            let unsupported = match self.scopes.last_mut() {
                Some(scope) => &mut scope.unsupported,
                None => &mut self.of_wrapper,
            };
            unsupported.get_or_insert_with(|| Unsupported {
                path: finding.path.clone(),
                reason: finding.message.clone(),
            });
        }
        self.report.findings.push(finding);
    }

    /// Refuses what the published Envoy refuses, and says so alone where an Envoy of another build may take
    /// it: what `is_foreign`, and what an Envoy has written.
    fn unless_elsewhere(
        &mut self,
        path: &Path,
        problem: String,
        is_foreign: bool,
    ) -> Result<(), ReadError> {
        if !is_foreign && !self.context.dumped {
            return Err(self.source.invalid(path, problem));
        }
        let message = format!("{problem}; decided as by an Envoy that takes it");
        let path = path.from(self.root);
        self.finding_at(path, FindingKind::NotDecided, Effect::Caution, message);
        Ok(())
    }

    fn unknown(&mut self, kind: FindingKind, mode: Mode, message: String) {
        let (effect, end) = match mode {
            Mode::ReadOver => (Effect::ReadOver, "it stands where nothing decides"),
            _ if self.scopes.is_empty() => (
                Effect::Caution,
                "an Envoy that knows it may decide otherwise",
            ),
            _ => (
                Effect::Unsupported,
                "requests that get this far are not decided",
            ),
        };
        self.finding(kind, effect, format!("{message}; {end}"));
    }

    fn message(&mut self, view: &View<'_>, mode: Mode) -> Result<(), ReadError> {
        // Resources that stand in a wrapper have a walk of their own.
        let in_wrapper = self.scopes.is_empty() && self.path.len() > self.root;
        if in_wrapper && crate::form::is_resource(&view.message.name) {
            return Ok(());
        }
        // Its own fields count wherever it stands in a dump.
        let is_bootstrap = self.scopes.is_empty() && view.message.name == BOOTSTRAP;
        let mode = match is_bootstrap.then(|| classify::table(BOOTSTRAP)).flatten() {
            Some(table) => Mode::Decide(table),
            None => mode,
        };
        let before = (self.depth, self.total_depth);
        self.depth += 1;
        self.total_depth += 1;
        if self.depth > MAX_DEPTH || self.total_depth > MAX_TOTAL_DEPTH {
            return Err(self.source.wire(
                &self.path,
                &view.message.name,
                format!("more than {MAX_DEPTH} nested messages, or {MAX_TOTAL_DEPTH} with Any"),
            ));
        }
        let result = if view.message.special == Special::Any {
            self.any(&view.as_any(), mode)
        } else {
            self.fields(view, mode)
        };
        (self.depth, self.total_depth) = before;
        result
    }

    fn any(&mut self, any: &AnyView<'_>, mode: Mode) -> Result<(), ReadError> {
        if any.type_url.is_empty() && any.value.is_empty() {
            return Ok(());
        }
        let Some(content) = any.content() else {
            let type_name = any.type_name();
            let message = format!("the type {type_name} is not built in");
            self.unknown(FindingKind::UnknownType, mode, message);
            return Ok(());
        };
        let mode = match (mode, classify::table(&content.message.name)) {
            (Mode::Decide(_), Some(table)) => Mode::Decide(table),
            (Mode::Decide(_), None) => Mode::ReadOver,
            (mode, _) => mode,
        };
        // Each Any is decoded on its own.
        self.depth = 0;
        let content = View {
            path: self.path.clone(),
            ..content
        };
        if matches!(mode, Mode::Decide(_)) && content.message.name == ROUTE {
            return self.part("routes", Some(&content));
        }
        self.message(&content, mode)
    }

    /// What is unsupported inside stays inside.
    fn part(&mut self, field: &'static str, child: Option<&View<'_>>) -> Result<(), ReadError> {
        self.scopes.push(Scope {
            field,
            path: self.path.from(self.root),
            ..Scope::default()
        });
        if let Some(child) = child {
            self.decided(child)?;
        }
        if let (Some(scope), Some(above)) = (self.scopes.pop(), self.scopes.last_mut()) {
            above.parts.push(scope);
        }
        Ok(())
    }

    fn fields(&mut self, view: &View<'_>, mode: Mode) -> Result<(), ReadError> {
        let message = view.message;
        let validate = self.validate && !message.unvalidated;
        let mut seen = rules::Seen::new(message);
        for field in wire::fields(view.bytes) {
            let (number, raw) =
                field.map_err(|problem| self.source.wire(&self.path, &message.name, problem))?;
            let Some(field) = message.field_by_number(number) else {
                self.unknown_field(message, number, raw, mode);
                continue;
            };
            self.path.push(Segment::Field(&field.name));
            let packed = match raw {
                Raw::Bytes(bytes) if field.repeated && wire::wire_type(&field.kind) != 2 => Some(
                    wire::unpack(&field.kind, bytes)
                        .map_err(|problem| self.source.wire(&self.path, &message.name, problem))?,
                ),
                _ => None,
            };
            let single = [raw];
            for raw in packed.as_deref().unwrap_or(&single) {
                self.check_wire_type(message, field, *raw)?;
                if !field.has_presence && !field.repeated && rules::is_default(*raw) {
                    continue;
                }
                let index = seen.count(field);
                if field.repeated {
                    self.path.push(Segment::Index(index));
                } else if index > 0 && matches!(raw, Raw::Bytes(_)) && field.message().is_some() {
                    return Err(self.source.wire(
                        &self.path,
                        &message.name,
                        "a field that is not repeated stands twice",
                    ));
                }
                if validate {
                    rules::value(field, *raw)
                        .map_err(|problem| self.source.invalid(&self.path, problem))?;
                }
                self.field(view, field, *raw, index, mode)?;
                if field.repeated {
                    self.path.pop();
                }
            }
            self.path.pop();
        }
        if validate && let Err((field, problem)) = rules::whole(message, &seen, view) {
            let path = match field {
                Some(field) => self.path.field(field),
                None => self.path.clone(),
            };
            return Err(self.source.invalid(&path, problem));
        }
        if validate && let Err((place, problem)) = messages::check(view) {
            let path = match place {
                Some(messages::Place {
                    field,
                    index: Some(index),
                }) => self.path.item(field, index),
                Some(messages::Place { field, index: None }) => self.path.field(field),
                None => self.path.clone(),
            };
            return Err(self.source.invalid(&path, problem));
        }
        if validate && validate::may_look_at(&message.name) {
            let view = View {
                path: self.path.clone(),
                ..view.clone()
            };
            rbac_matcher::check(&view, self.source)?;
            validate::bootstrap::check(&view, self.source)?;
            validate::header_to_metadata::check(&view, self.source)?;
            validate::upstream_filters::check(&view, self.source)?;
            for missing in validate::registered::missing(&view) {
                self.unless_elsewhere(&missing.path, missing.problem, missing.is_foreign)?;
            }
            for (path, problem) in validate::access_log::faults(&view) {
                self.unless_elsewhere(&path, problem, false)?;
            }
        }
        Ok(())
    }

    fn unknown_field(&mut self, message: &Message, number: u32, raw: Raw<'_>, mode: Mode) {
        let name = match raw {
            Raw::Bytes(bytes) if number == wire::UNKNOWN => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            _ => format!("#{number}"),
        };
        self.path.push(Segment::Unknown(name));
        let problem = format!("{} has no such field in Envoy 1.40's API", message.name);
        self.unknown(FindingKind::UnknownField, mode, problem);
        self.path.pop();
    }

    fn check_wire_type(
        &self,
        message: &Message,
        field: &Field,
        raw: Raw<'_>,
    ) -> Result<(), ReadError> {
        let found = match raw {
            Raw::Varint(_) => 0,
            Raw::Fixed64(_) => 1,
            Raw::Bytes(_) => 2,
            Raw::Fixed32(_) => 5,
        };
        let expected = wire::wire_type(&field.kind);
        if found != expected {
            let problem = format!("the wire type {expected} was expected, {found} found");
            return Err(self.source.wire(&self.path, &message.name, problem));
        }
        match raw {
            Raw::Bytes(bytes)
                if field.kind == crate::schema::Kind::String
                    && std::str::from_utf8(bytes).is_err() =>
            {
                Err(self
                    .source
                    .wire(&self.path, &message.name, "the string is not UTF-8"))
            }
            _ => Ok(()),
        }
    }

    fn field(
        &mut self,
        parent: &View<'_>,
        field: &'static Field,
        raw: Raw<'_>,
        index: usize,
        mode: Mode,
    ) -> Result<(), ReadError> {
        let child = match (field.message(), raw) {
            (Some(message), Raw::Bytes(bytes)) => Some(View {
                message,
                bytes,
                path: Path::default(),
            }),
            _ => None,
        };
        let Mode::Decide(table) = mode else {
            return match child {
                Some(child) => self.message(&child, mode),
                None => Ok(()),
            };
        };
        let Some(rule) = table.rule(&field.name) else {
            let message = format!("{} is not decided", field.name);
            self.finding(FindingKind::NotDecided, Effect::Unsupported, message);
            return match child {
                Some(child) => self.message(&child, Mode::Unsupported),
                None => Ok(()),
            };
        };
        let verdict = match rule {
            Rule::Decided => Verdict::Decided,
            Rule::Inert => Verdict::Inert,
            // One finding tells of all elements of a list.
            Rule::ReadOver(_) if index > 0 => Verdict::Inert,
            Rule::ReadOver(message) => Verdict::ReadOver((*message).into()),
            Rule::Unsupported(message) => Verdict::Unsupported((*message).into()),
            Rule::Judge(judge) => judge(&classify::Judged {
                parent,
                raw,
                child: child.as_ref(),
                index,
                context: &self.context,
            }),
            Rule::Part => return self.part(&field.name, child.as_ref()),
        };
        let mode = match verdict {
            Verdict::Decided => {
                return match child {
                    Some(child) => self.decided(&child),
                    None => Ok(()),
                };
            }
            Verdict::Inert => Mode::ReadOver,
            Verdict::ReadOver(message) => {
                self.finding(FindingKind::NotDecided, Effect::ReadOver, message);
                Mode::ReadOver
            }
            Verdict::Caution(message) => {
                self.finding(FindingKind::NotDecided, Effect::Caution, message);
                Mode::ReadOver
            }
            Verdict::Unsupported(message) => {
                self.finding(FindingKind::NotDecided, Effect::Unsupported, message);
                Mode::Unsupported
            }
        };
        match child {
            Some(child) => self.message(&child, mode),
            None => Ok(()),
        }
    }

    /// A message that is decided: by its own table, or as the leaf that it is.
    fn decided(&mut self, child: &View<'_>) -> Result<(), ReadError> {
        let mode = match classify::table(&child.message.name) {
            Some(table) => Mode::Decide(table),
            None if child.message.special == Special::Any => Mode::Decide(&classify::ANY),
            None => Mode::ReadOver,
        };
        self.message(child, mode)
    }
}
