//! Whom a request comes from: the peer of the connection, or, if that is a proxy of ours, whoever the
//! proxy says in `X-Forwarded-For`. What others say in it is not believed.

use std::net::IpAddr;

use ipnet::IpNet;
use warp::http::HeaderMap;

/// The address of the client. Each proxy appends the address that it was called from, so the list is
/// read from the right, as long as the one who says it is a proxy of ours.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(&address));
    let said = headers.get_all("x-forwarded-for").iter();
    let said: Vec<_> = said
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    // An IPv4 client of a socket for both is what it is.
    let mut client = peer.to_canonical();
    for address in said.into_iter().rev() {
        match address.trim().parse::<IpAddr>() {
            Ok(address) if is_proxy(client) => client = address.to_canonical(),
            _ => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_of_ours_are_believed() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "::1/128"]
            .map(|network| network.parse().unwrap())
            .into();
        for (peer, said, expected) in [
            ("192.0.2.1", vec![], "192.0.2.1"),
            ("192.0.2.1", vec!["203.0.113.9"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", vec!["::ffff:203.0.113.9"], "203.0.113.9"),
            ("::1", vec!["203.0.113.9, 10.0.0.7"], "203.0.113.9"),
            ("::1", vec!["203.0.113.9", "10.0.0.7"], "203.0.113.9"),
            // What the client itself wrote in front is not believed.
            ("10.0.0.1", vec!["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", vec!["203.0.113.9, unknown"], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for value in &said {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let client = client(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(
                client,
                expected.parse::<IpAddr>().unwrap(),
                "{peer} {said:?}"
            );
        }
    }
}
