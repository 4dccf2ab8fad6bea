//! The balancers' state in the kernel's maps, where the programs and the proxy both decide by it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twinmesh_compile::{Compiled, Numbers};
use twinmesh_kernel_backend::datapath::maps::address;
use twinmesh_kernel_backend::datapath::shape::Endpoint;

use super::Splice;
use crate::live::state::{Memory, Sets, in_process};
use crate::record::Order;

/// The kernel's maps as [`Memory`].
pub struct KernelMemory {
    splice: Arc<Splice>,
    /// A policy came that does not fit: from then on the proxy decides alone.
    outgrown: AtomicBool,
}

impl KernelMemory {
    /// Over the maps of programs that are loaded.
    pub fn new(splice: Arc<Splice>) -> Self {
        Self {
            splice,
            outgrown: AtomicBool::new(false),
        }
    }

    /// Says where the policy's endpoints are. Their numbers mean the same in the policy before.
    fn set_endpoints(&self, compiled: &Compiled) {
        let maps = self.splice.datapath.maps();
        for (number, place) in compiled.places() {
            let number = number as u64;
            let Some(at) = self.splice.address_of(compiled, place) else {
                maps.set_endpoint(number, Endpoint::default());
                continue;
            };
            self.splice.set_endpoint(number, at);
            maps.set_endpoint(
                number,
                Endpoint {
                    address: address(at),
                    family: if at.is_ipv4() { 2 } else { 10 },
                    pool: self.splice.slots.pool(at).map_or(0, |pool| pool + 1),
                },
            );
        }
    }
}

impl Splice {
    /// Where an endpoint of a policy is, by its place; `None` where that is no IP address and port.
    pub(super) fn address_of(
        &self,
        compiled: &Compiled,
        (cluster, locality, position): (usize, usize, usize),
    ) -> Option<SocketAddr> {
        let cluster = compiled.snapshot.clusters.get(cluster)?;
        let group = cluster.load_assignment.as_ref()?.endpoints.get(locality)?;
        let text = twinmesh_engine::endpoint::address(group.lb_endpoints.get(position)?)?;
        Some(self.resolve(text.parse().ok()?))
    }
}

impl Memory for KernelMemory {
    fn active(&self) -> &[AtomicU64] {
        self.splice.datapath.maps().active()
    }

    fn order(&self) -> Order<'_> {
        let [lock, next] = self.splice.datapath.maps().order();
        Order { lock, next }
    }

    fn held(&self) -> &[AtomicU64] {
        self.splice.ledger.held()
    }

    fn prepare(
        &self,
        compiled: &Compiled,
        numbers: &Numbers,
        generation: u64,
    ) -> Result<(), String> {
        if let Some(keep) = &self.splice.keep
            && let Err(why) = keep.save(numbers)
        {
            tracing::error!("a later agent will adopt nothing: {why}");
        }
        let maps = self.splice.datapath.maps();
        let sets = compiled
            .state
            .get(maps.active().len()..)
            .unwrap_or_default();
        let fits = maps.fits(&compiled.policy, sets);
        let written = fits.and_then(|()| maps.write_policy(generation, &compiled.policy));
        if let Err(why) = written {
            // Traffic goes on: the proxy has memory of its own.
            if !self.outgrown.swap(true, Ordering::SeqCst) {
                tracing::error!("the kernel decides no more, all goes through the proxy: {why}");
            }
            maps.retire();
            return Ok(());
        }
        if self.outgrown.swap(false, Ordering::SeqCst) {
            tracing::info!("the policy fits the kernel's maps again");
        }
        self.set_endpoints(compiled);
        Ok(())
    }

    fn place(
        &self,
        _compiled: &Compiled,
        sets: &[u64],
        generation: u64,
    ) -> Result<Box<dyn Sets>, String> {
        if self.outgrown.load(Ordering::SeqCst) {
            return Ok(in_process(sets));
        }
        self.splice.datapath.maps().publish(generation, sets);
        Ok(Box::new(InKernel {
            splice: Arc::clone(&self.splice),
            generation,
        }))
    }
}

/// The words of one generation.
struct InKernel {
    splice: Arc<Splice>,
    generation: u64,
}

impl Sets for InKernel {
    fn words(&self) -> &[AtomicU64] {
        self.splice.datapath.maps().state(self.generation)
    }
}
