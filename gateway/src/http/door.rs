//! The door: who may come in, by address and in all.
//!
//! Counts connections and opening handshakes, and how often an address comes. Decides with the time as an argument and touches no
//! socket. Whoever is inside holds a place, which is given back when it is dropped, wherever that is: a connection takes its
//! place along to its shard. The one lock is held for a look into a map, when a connection comes and when it goes, never on the
//! way of an update.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fanout::{Allowance, Bucket};
use model::Nanos;
use parking_lot::Mutex;

use super::refusal::Reason;

/// How often addresses are forgotten that have nobody inside and have not come for a while.
const SWEEP_EVERY: Nanos = Nanos::SECOND;

/// How many may be inside.
#[derive(Clone, Debug, Default)]
pub struct DoorLimits {
    /// Clients in all.
    pub clients_max: usize,
    /// Clients of one address.
    pub clients_per_address_max: u32,
    /// Connections of one address that are not upgraded.
    pub handshakes_per_address_max: u32,
    /// Connections that one address may open.
    pub per_address: Allowance,
    /// Addresses without limits of their own.
    pub exempt: Vec<Network>,
}

/// An address as it is counted: IPv4 whole, of IPv6 the network of a site, since its hosts have more addresses than can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address(u64);

impl Address {
    fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            // Above every unicast network of IPv6.
            IpAddr::V4(v4) => Self(0xFFFF_FFFF_0000_0000 | u64::from(u32::from(v4))),
            IpAddr::V6(v6) => Self((u128::from(v6) >> 64) as u64),
        }
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    handshakes: u32,
    clients: u32,
    comes: Bucket,
}

#[derive(Debug, Default)]
struct Inside {
    addresses: BTreeMap<Address, Known>,
    clients: usize,
    handshakes: usize,
    swept: Nanos,
}

/// Who is inside, and who may come in.
#[derive(Debug, Default)]
pub struct Door {
    limits: DoorLimits,
    inside: Mutex<Inside>,
}

/// A place inside, of one connection.
#[derive(Debug)]
pub struct Place {
    door: Arc<Door>,
    address: Address,
    is_client: bool,
}

impl Door {
    /// An empty house.
    #[must_use]
    pub fn new(limits: DoorLimits) -> Self {
        Self { limits, inside: Mutex::default() }
    }

    /// A connection came: it may speak HTTP as long as it holds the place.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn arrive(self: &Arc<Self>, from: IpAddr, now: Nanos) -> Result<Place, Reason> {
        let address = Address::new(from);
        let is_exempt = self.is_exempt(from);
        let mut inside = self.inside.lock();
        inside.sweep(now);
        let fresh = Known { handshakes: 0, clients: 0, comes: Bucket::new(now) };
        let known = inside.addresses.entry(address).or_insert(fresh);
        if !is_exempt {
            if !known.comes.try_take(self.limits.per_address, now) {
                return Err(Reason::AddressRate);
            }
            if known.handshakes >= self.limits.handshakes_per_address_max {
                return Err(Reason::AddressHandshakes);
            }
        }
        known.handshakes += 1;
        inside.handshakes += 1;
        Ok(Place { door: Arc::clone(self), address, is_client: false })
    }

    /// A connection wants to become a client.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn admit(self: &Arc<Self>, from: IpAddr) -> Result<Place, Reason> {
        let address = Address::new(from);
        let is_exempt = self.is_exempt(from);
        let mut inside = self.inside.lock();
        if inside.clients >= self.limits.clients_max {
            return Err(Reason::Full);
        }
        let fresh = Known { handshakes: 0, clients: 0, comes: Bucket::default() };
        let known = inside.addresses.entry(address).or_insert(fresh);
        if !is_exempt && known.clients >= self.limits.clients_per_address_max {
            return Err(Reason::AddressFull);
        }
        known.clients += 1;
        inside.clients += 1;
        Ok(Place { door: Arc::clone(self), address, is_client: true })
    }

    /// Connections that are not upgraded.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.inside.lock().handshakes
    }

    fn is_exempt(&self, from: IpAddr) -> bool {
        self.limits.exempt.iter().any(|network| network.contains(from))
    }
}

impl Inside {
    /// Forgets who is not inside and whose bucket is full: there is nothing to remember.
    fn sweep(&mut self, now: Nanos) {
        if now >= self.swept + SWEEP_EVERY {
            self.swept = now;
            self.addresses
                .retain(|_, known| known.handshakes + known.clients > 0 || known.comes.full_at() > now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.inside.lock();
        if let Some(known) = inside.addresses.get_mut(&self.address) {
            let count = if self.is_client { &mut known.clients } else { &mut known.handshakes };
            *count -= 1;
        }
        let count = if self.is_client { &mut inside.clients } else { &mut inside.handshakes };
        *count -= 1;
    }
}

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let differ = u32::from(mine) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                let differ = u128::from(mine) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = String;
    /// An address such as `10.0.0.1`, or a network such as `10.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is neither an address nor a network such as 10.0.0.0/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| bad())?;
        if bits > most { Err(bad()) } else { Ok(Self { address, bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Arc<Door> {
        Arc::new(Door::new(DoorLimits {
            clients_max: 5,
            clients_per_address_max: 2,
            handshakes_per_address_max: 3,
            per_address: Allowance { per_s: 10, burst: 4 },
            exempt: vec!["10.0.0.0/8".parse().unwrap()],
        }))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_clients_and_the_house_too() {
        let door = door();
        let mut places: Vec<Place> =
            ["192.0.2.1", "::ffff:192.0.2.1"].map(|from| door.admit(ip(from)).unwrap()).into();
        assert_eq!(door.admit(ip("192.0.2.1")).unwrap_err(), Reason::AddressFull);
        places.extend((0..3).map(|_| door.admit(ip("10.1.1.1")).unwrap()));
        assert_eq!(door.admit(ip("192.0.2.2")).unwrap_err(), Reason::Full);
        places.remove(0);
        drop(door.admit(ip("192.0.2.1")).unwrap());
        places.clear();
        let inside = door.inside.lock();
        assert_eq!(
            (inside.clients, inside.addresses.values().map(|known| known.clients).sum::<u32>()),
            (0, 0)
        );
    }

    #[test]
    fn hosts_of_one_ipv6_site_are_one_address() {
        let door = door();
        let _places = ["2001:db8::1", "2001:db8::2"].map(|from| door.admit(ip(from)).unwrap());
        assert_eq!(door.admit(ip("2001:db8::3")).unwrap_err(), Reason::AddressFull);
        assert!(door.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn an_address_comes_only_so_often_and_has_few_handshakes() {
        let door = door();
        let now = Nanos::from_secs(9);
        let mut places: Vec<Place> = (0..3).map(|_| door.arrive(ip("192.0.2.1"), now).unwrap()).collect();
        assert_eq!(door.arrive(ip("192.0.2.1"), now).unwrap_err(), Reason::AddressHandshakes);
        assert_eq!(door.arrive(ip("192.0.2.1"), now).unwrap_err(), Reason::AddressRate);
        places.clear();
        assert_eq!(door.arrive(ip("192.0.2.1"), now).unwrap_err(), Reason::AddressRate);
        assert!(door.arrive(ip("192.0.2.1"), now + Nanos::from_millis(100)).is_ok());
        let exempt: Vec<Place> = (0..50).map(|_| door.arrive(ip("10.9.9.9"), now).unwrap()).collect();
        assert_eq!(door.handshakes(), exempt.len());
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let door = door();
        for n in 0..100_u32 {
            let from = IpAddr::from([198, 51, 100, n as u8]);
            drop(door.arrive(from, Nanos::from_secs(5)).unwrap());
        }
        assert_eq!(door.inside.lock().addresses.len(), 100, "their buckets are remembered");
        drop(door.arrive(ip("192.0.2.1"), Nanos::from_secs(7)).unwrap());
        assert_eq!(door.inside.lock().addresses.len(), 1);
    }

    #[test]
    fn networks_are_read_and_compared_by_their_bits() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().is_ok_and(|network| network.contains(ip(address)))
        };
        assert!(contains("127.0.0.1", "127.0.0.1") && !contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1") && !contains("::1/128", "::2"));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "host", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
