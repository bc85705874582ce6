//! The short form of a port: `[[address:]published:]target[/protocol]`, ranges included.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::service::Port;

/// Reads a short port; a range becomes one entry each, in the order in which Compose prints them.
pub(super) fn parse(spec: &str) -> Result<Vec<Port>, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let count = parts.len();
    let target = parts[count - 1];
    let published = if count > 1 { parts[count - 2] } else { "" };
    let address = if count > 2 { parts[..count - 2].join(":") } else { String::new() };
    let (target, protocol) = split_protocol(target);
    let address = check_address(&address)?;
    if target.is_empty() {
        return Err(format!("the port `{spec}` names no container port"));
    }
    let (start, end) = range(target).ok_or_else(|| format!("`{target}` in the port `{spec}` is no port or range"))?;
    if start == 0 {
        return Err(format!("the port `{spec}` names the container port 0"));
    }
    let host = match published {
        "" => None,
        text => Some(range(text).ok_or_else(|| format!("`{text}` in the port `{spec}` is no port or range"))?),
    };
    if let Some((host_start, host_end)) = host
        && host_end - host_start != end - start
        && end != start
    {
        return Err(format!("the ranges of the port `{spec}` differ in length"));
    }
    let protocol = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("`{protocol}` in the port `{spec}` is no protocol; tcp, udp and sctp are"));
    }
    let mut sorted: BTreeMap<String, Port> = BTreeMap::new();
    for i in 0..=(end - start) {
        let published = host.map(|(host_start, host_end)| {
            if start == end && host_start != host_end {
                format!("{host_start}-{host_end}")
            } else {
                (host_start + i).to_string()
            }
        });
        let target = start + i;
        sorted.insert(
            format!("{target}/{protocol}"),
            Port {
                mode: "ingress".into(),
                host_ip: address.clone(),
                target,
                published,
                protocol: protocol.clone(),
                ..Port::default()
            },
        );
    }
    Ok(sorted.into_values().collect())
}

fn split_protocol(target: &str) -> (&str, &str) {
    let mut parts = target.split('/');
    let port = parts.next().unwrap_or_default();
    match parts.next() {
        _ if port.is_empty() => ("", ""),
        None | Some("") => (port, "tcp"),
        Some(protocol) => (port, protocol),
    }
}

fn check_address(address: &str) -> Result<Option<String>, String> {
    if address.is_empty() {
        return Ok(None);
    }
    let bracketed = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let plain = bracketed.unwrap_or(address);
    if plain.parse::<IpAddr>().is_err() {
        return Err(format!("`{address}` is no IP address"));
    }
    if bracketed.is_none() && plain.contains(':') {
        return Err(format!("write the IPv6 address `{address}` in brackets: [{address}]"));
    }
    Ok(Some(plain.to_owned()))
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse().ok()).flatten();
    let mut parts = text.split('-');
    let start = port(parts.next()?)?;
    let end = match parts.next() {
        Some(end) => port(end)?,
        None => start,
    };
    (start <= end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &str) -> Vec<String> {
        let ports = parse(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
        ports
            .iter()
            .map(|p| {
                format!(
                    "{}|{}|{}|{}",
                    p.host_ip.as_deref().unwrap_or(""),
                    p.published.as_deref().unwrap_or(""),
                    p.target,
                    p.protocol
                )
            })
            .collect()
    }

    #[test]
    fn every_spelling_of_a_port_is_read() {
        for (spec, expected) in [
            ("8000", vec!["||8000|tcp"]),
            ("5002:8000", vec!["|5002|8000|tcp"]),
            ("127.0.0.1:5002:8000/udp", vec!["127.0.0.1|5002|8000|udp"]),
            ("[::1]:80:80", vec!["::1|80|80|tcp"]),
            ("127.0.0.1::90", vec!["127.0.0.1||90|tcp"]),
            ("8000-8010:80", vec!["|8000-8010|80|tcp"]),
            ("9-10:9-10", vec!["|10|10|tcp", "|9|9|tcp"]),
        ] {
            assert_eq!(shown(spec), expected, "{spec}");
        }
        for spec in ["", "a", "80:", "80:80/xyz", "1-3:1-2", "70000", "x:80:80", "+80", "80-70", "::1:80:80", "0"] {
            assert!(parse(spec).is_err(), "{spec}");
        }
    }
}
