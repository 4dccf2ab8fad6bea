//! What the hash balancers choose from, laid out as Envoy does: the ring, and Maglev's table. Sums
//! are doubles, added up in Envoy's order, so that they round alike.

use envoy_types::pb::envoy::config::core::v3::{
    Locality as LocalityConfig, Metadata, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::google::protobuf::value::Kind;
use twinmesh_xds::{Cluster, RingHash};
use xxhash_rust::xxh64::xxh64;

use crate::address_text;
use crate::endpoint_name::{hostname, internal_name};
use crate::locality::{self, Locality};
use crate::{CapacityError, capacity, murmur};

/// An endpoint's key, and its share of the cluster's load.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// What is hashed for it.
    pub key: String,
    /// All shares are 1 together.
    pub weight: f64,
    /// Its position in the set.
    pub position: u16,
}

/// The shares of a set's endpoints; `places` are each one's locality and place there. Where
/// localities are weighed, an endpoint's share is one of its locality's.
pub fn shares(
    cluster: &Cluster,
    places: &[(usize, usize)],
    localities: Option<&[Locality]>,
    own: Option<&LocalityConfig>,
    by_hostname: bool,
) -> Vec<Share> {
    let groups = match &cluster.load_assignment {
        Some(assignment) => assignment.endpoints.as_slice(),
        None => return Vec::new(),
    };
    let endpoints: Vec<(&LocalityLbEndpoints, &LbEndpoint, u16)> = places
        .iter()
        .zip(0..=u16::MAX)
        .filter_map(|(&(locality, place), position)| {
            let group = groups.get(locality)?;
            Some((group, group.lb_endpoints.get(place)?, position))
        })
        .collect();
    let key = |endpoint| key(cluster, endpoint, by_hostname);
    let Some(localities) = localities else {
        return spread(&endpoints, 1.0, key).collect();
    };
    let total: u64 = localities.iter().map(|it| u64::from(it.weight)).sum();
    let mut shares = Vec::new();
    for locality in localities.iter().filter(|it| it.weight != 0) {
        let own: Vec<_> = endpoints
            .iter()
            .filter(|(group, ..)| locality::name(group, own) == locality.name)
            .copied()
            .collect();
        let share = f64::from(locality.weight) / total as f64;
        shares.extend(spread(&own, share, key));
    }
    shares
}

/// Divides a share by the endpoints' weights.
fn spread<'e>(
    endpoints: &[(&LocalityLbEndpoints, &'e LbEndpoint, u16)],
    share: f64,
    key: impl Fn(&'e LbEndpoint) -> String,
) -> impl Iterator<Item = Share> {
    let weight = |endpoint: &LbEndpoint| {
        let weight = endpoint.load_balancing_weight.as_ref();
        weight.map_or(1, |weight| weight.value)
    };
    let total: u64 = endpoints
        .iter()
        .map(|(_, endpoint, _)| u64::from(weight(endpoint)))
        .sum();
    endpoints.iter().map(move |&(_, endpoint, position)| Share {
        key: key(endpoint),
        weight: f64::from(weight(endpoint)) * share / total as f64,
        position,
    })
}

/// What is hashed for an endpoint: `hash_key` of its metadata, else its host name or address.
fn key(cluster: &Cluster, endpoint: &LbEndpoint, by_hostname: bool) -> String {
    let given = endpoint.metadata.as_ref().and_then(hash_key);
    given.unwrap_or_else(|| {
        let HostIdentifier::Endpoint(host) = endpoint
            .host_identifier
            .clone()
            .unwrap_or(HostIdentifier::EndpointName(String::new()))
        else {
            return String::new();
        };
        let address = host.address.and_then(|address| address.address);
        match address {
            _ if by_hostname => hostname(&cluster.config, endpoint).to_owned(),
            Some(address::Address::SocketAddress(socket)) => {
                let port = match socket.port_specifier {
                    Some(PortSpecifier::PortValue(port)) => port,
                    _ => 0,
                };
                address_text::of_socket(&socket.address, port)
            }
            Some(address::Address::Pipe(pipe)) => pipe.path,
            Some(address::Address::EnvoyInternalAddress(internal)) => {
                internal_name(&internal).unwrap_or_default()
            }
            None => String::new(),
        }
    })
}

fn hash_key(metadata: &Metadata) -> Option<String> {
    let value = metadata
        .filter_metadata
        .get("envoy.lb")?
        .fields
        .get("hash_key")?;
    match &value.kind {
        Some(Kind::StringValue(key)) if !key.is_empty() => Some(key.clone()),
        _ => None,
    }
}

/// The hashes of the ring in order, each with its endpoint's position.
///
/// # Errors
/// There are more than fit.
pub fn ring(shares: &[Share], options: RingHash) -> Result<Vec<(u64, u16)>, CapacityError> {
    let least = shares.iter().map(|share| share.weight).fold(1.0, f64::min);
    // The endpoint of the least share gets a whole number of hashes, unless the ring is too large.
    let whole = (least * options.minimum as f64).ceil() / least;
    let scale = whole.min(options.maximum as f64);
    capacity::check("hashes in one ring", scale.ceil() as u64, capacity::RING)?;
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    let mut wanted = 0.0;
    for share in shares {
        wanted += scale * share.weight;
        let mut number = 0;
        while (points.len() as f64) < wanted {
            let text = format!("{}_{number}", share.key);
            let hash = if options.murmur {
                murmur::hash(text.as_bytes())
            } else {
                xxh64(text.as_bytes(), 0)
            };
            points.push((hash, share.position));
            number += 1;
        }
    }
    points.sort_by_key(|&(hash, _)| hash);
    Ok(points)
}

/// A row of Maglev's table while it is filled.
struct Row {
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    target: f64,
    position: u16,
}

/// The position of each entry of Maglev's table.
///
/// # Errors
/// It is larger than fits, or too small to be filled.
pub fn table(shares: &[Share], size: u64) -> Result<Vec<u16>, CapacityError> {
    capacity::check("entries in one Maglev table", size, capacity::TABLE)?;
    let largest = shares.iter().map(|share| share.weight).fold(0.0, f64::max);
    let mut ordered: Vec<&Share> = shares.iter().collect();
    ordered.sort_by(|one, other| one.key.cmp(&other.key));
    let mut rows: Vec<Row> = ordered
        .into_iter()
        .map(|share| Row {
            offset: xxh64(share.key.as_bytes(), 0)
                .checked_rem(size)
                .unwrap_or(0),
            skip: xxh64(share.key.as_bytes(), 1)
                .checked_rem(size.saturating_sub(1))
                .unwrap_or(0)
                + 1,
            next: 0,
            weight: share.weight,
            target: 0.0,
            position: share.position,
        })
        .collect();
    let mut table: Vec<Option<u16>> = vec![None; size as usize];
    let mut left = size;
    let mut turn = 0_u32;
    while left > 0 && largest > 0.0 {
        turn += 1;
        for row in &mut rows {
            if left == 0 {
                break;
            }
            if f64::from(turn) * row.weight < row.target {
                continue;
            }
            row.target += largest;
            // A prime size lets a row's steps reach every entry.
            for _ in 0..size {
                let at = row.offset.wrapping_add(row.skip.wrapping_mul(row.next)) % size;
                row.next += 1;
                if let Some(entry @ None) = table.get_mut(at as usize) {
                    *entry = Some(row.position);
                    left -= 1;
                    break;
                }
            }
        }
    }
    Ok(table.into_iter().flatten().collect())
}
