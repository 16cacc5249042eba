//! Which addresses count as private.

use std::net::IpAddr;

use wippy_security::is_private_address;

fn check(addresses: &[&str], expected: bool) {
    for text in addresses {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(is_private_address(address), expected, "{text}");
    }
}

#[test]
fn addresses_of_the_public_internet() {
    check(
        &[
            "1.1.1.1",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "169.253.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
        ],
        false,
    );
}

#[test]
fn addresses_that_only_this_machine_or_network_reaches() {
    check(
        &[
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b:1::1",
            "192.88.99.1",
            // Tunnels, benchmarks, identifiers, routing, and what nobody has been given.
            "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
            "2001:2::1",
            "2001:20::1",
            "5f00::1",
            "4000::1",
            "3fff:fff::1",
        ],
        true,
    );
}

#[test]
fn what_an_address_carries_decides() {
    check(
        &[
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::192.168.0.1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            // 127.0.0.1 with its bits turned over.
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
        ],
        true,
    );
    check(&["::ffff:1.1.1.1", "64:ff9b::8.8.8.8", "2002:808:808::1"], false);
}
