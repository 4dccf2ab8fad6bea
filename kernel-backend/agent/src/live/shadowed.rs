//! What the shadow gets of live decisions.

use twinmesh_compile::Left;
use twinmesh_engine::Request;

use super::{Decided, Live, decided};
use crate::shadow::{Made, Shadow, Skipped};

impl Live {
    /// Has the shadow make its share of decisions again; once, and before the first policy.
    pub fn set_shadow(&self, shadow: Shadow) {
        // A second one would have nothing to compare.
        let _ = self.inner.shadow.set(shadow);
    }

    /// The shadow, where there is one.
    pub fn shadow(&self) -> Option<&Shadow> {
        self.inner.shadow.get()
    }

    /// A decision was made, by the proxy or for it.
    pub(super) fn shadowed(&self, request: &Request, decided: &Decided) {
        if let Some(shadow) = self.shadow()
            && shadow.takes()
        {
            shadow.compare(|| Made {
                request: request.clone(),
                random: decided.random,
                answer: decided.answer.clone(),
                snapshot: decided.policy.snapshot().clone(),
                generation: decided.policy.generation,
            });
        }
    }

    /// A decision that the kernel made, and that is one of the shadow's share, has come to its end.
    /// The request, or why there is none.
    pub fn shadowed_in_kernel(
        &self,
        request: Result<Request, Skipped>,
        generation: u64,
        left: &Left,
        random: u64,
    ) {
        let Some(shadow) = self.shadow() else {
            return;
        };
        let request = match request {
            Ok(request) => request,
            Err(why) => return shadow.skip(why),
        };
        let Some(policy) = self.by_generation(generation) else {
            return shadow.skip(Skipped::PolicyGone);
        };
        shadow.compare(|| {
            let snapshot = policy.snapshot().clone();
            Made {
                answer: decided(policy, (&request, None), left, random, None).answer,
                request,
                random,
                snapshot,
                generation,
            }
        });
    }
}
