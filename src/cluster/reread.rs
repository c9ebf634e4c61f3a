//! Asking the API server again: what a difference is due to be called a fault for must still be expected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};

use super::kinds::{ServiceObject, SliceObject};
use super::pool::Pool;
use super::{Stores, chain, locked, service, slice};
use crate::intent::snapshot::{ObjectName, SliceFacts};

/// Asks the API server again for one Service and its slices.
#[derive(Clone)]
pub struct Rereader {
    pub(super) client: Client,
    pub(super) stores: Arc<Mutex<Stores>>,
}

impl Rereader {
    /// True if the API server's word on a Service is what the watches say; an error if it gave none in time.
    pub async fn is_current(&self, name: &ObjectName, deadline: Duration) -> Result<bool, String> {
        let services: Api<ServiceObject> = Api::namespaced(self.client.clone(), &name.namespace);
        let slices: Api<SliceObject> = Api::namespaced(self.client.clone(), &name.namespace);
        let selector = ListParams::default().labels(&format!("kubernetes.io/service-name={}", name.name));
        let both = async { tokio::try_join!(services.get_opt(&name.name), slices.list(&selector)) };
        let (fresh_service, fresh_slices) = match tokio::time::timeout(deadline, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return Err(chain(&error)),
            Err(_) => return Err(format!("no answer within {} s", deadline.as_secs())),
        };
        let stores = locked(&self.stores);
        let known = stores.services.as_ref().and_then(|services| services.get(name));
        let slices_of = |slices: &mut dyn Iterator<Item = Arc<SliceFacts>>| {
            let (mut nodes, mut any) = (BTreeSet::new(), false);
            for slice in slices.filter(|slice| slice.service == *name) {
                nodes.extend(slice.nodes.iter().cloned());
                any |= slice.any;
            }
            (nodes, any)
        };
        let fresh = slices_of(
            &mut fresh_slices.items.iter().filter_map(|object| slice(object, &mut Pool::default())),
        );
        let cached = slices_of(&mut stores.slices.iter().flat_map(BTreeMap::values).cloned());
        Ok(fresh_service.as_ref().and_then(service).as_ref() == known && fresh == cached)
    }
}
