//! Tests of what may be called.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn addresses_that_only_this_program_could_reach_are_refused() {
    let egress = Egress::default();
    for text in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "3fff::1",
        "2001::1",
        "2001:2::1",
        "64:ff9b:1::1",
        "5f00::1",
        "4000::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:c0a8:101::",
    ] {
        let refused = egress.check(address(text));
        assert!(matches!(refused, Err(Error::Address { .. })), "{text}");
        assert_eq!(refused.expect_err("refused").code(), Code::Forbidden);
        assert!(Egress::everywhere().check(address(text)).is_ok(), "{text}");
    }
}

#[test]
fn public_addresses_are_called() {
    let egress = Egress::default();
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.0.1",
        "169.255.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.1.1",
        "198.17.0.1",
        "198.20.0.0",
        "223.255.255.255",
        "2600:1f18::1",
        "2a00:1450:4001::1",
        "2001:4860:4860::8888",
        "2002:808:808::",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert_eq!(egress.check(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn what_is_allowed_is_allowed_in_every_form() {
    let egress = Egress::new(["127.0.0.0/8", "fd00::/8", "192.168.1.7"]).expect("read");
    for text in ["127.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "fd12::1", "192.168.1.7"] {
        assert_eq!(egress.check(address(text)), Ok(()), "{text}");
    }
    for text in ["10.0.0.1", "::1", "192.168.1.8", "fc00::1"] {
        assert!(egress.check(address(text)).is_err(), "{text}");
    }
}

#[test]
fn an_address_in_a_url_is_found_in_each_of_its_spellings() {
    let egress = Egress::default();
    for text in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://[::1]/",
        "http://[::ffff:7f00:1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://１２７.0.0.1/",
    ] {
        let url = Url::parse(text).expect("a URL");
        assert!(egress.check_url(&url).is_err(), "{text}");
    }
    for text in ["http://8.8.8.8/", "http://localhost/", "https://example.com/"] {
        assert_eq!(egress.check_url(&Url::parse(text).expect("a URL")), Ok(()), "{text}");
    }
}

fn sockets(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|text| SocketAddr::new(address(text), 0)).collect()
}

#[test]
fn a_host_is_called_at_those_of_its_addresses_that_may_be() {
    let egress = Egress::new(["minio.internal"]).expect("read");
    let mixed = egress.admit("evil.example", sockets(&["10.0.0.1", "8.8.8.8"]));
    assert_eq!(mixed, Ok(sockets(&["8.8.8.8"])));
    let refused = egress.admit("evil.example", sockets(&["127.0.0.1"])).expect_err("refused");
    let text = refused.to_string();
    assert!(text.contains("`evil.example`") && text.contains("`egress.allow`"), "{text}");
    let named = egress.admit("MinIO.internal.", sockets(&["10.0.0.1"]));
    assert_eq!(named, Ok(sockets(&["10.0.0.1"])));
    assert!(egress.admit("x.minio.internal", sockets(&["10.0.0.1"])).is_err(), "another name");
}

#[test]
fn entries_that_mean_nothing_are_refused() {
    for entry in ["", "10.0.0.0/33", "http://a", "*.internal", "a b", "10.0.0.0/8,::1", "a:80"] {
        let refused = Egress::new([entry]).expect_err(entry);
        assert!(refused.to_string().contains(&format!("`{entry}`")), "{refused}");
        assert_eq!(refused.code(), Code::Invalid);
    }
}

proptest! {
    #[test]
    fn every_form_of_an_ipv4_address_is_as_public_as_it_is(bits: u32) {
        let plain = Ipv4Addr::from_bits(bits);
        let [a, b, c, d] = plain.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let egress = Egress::default();
        let public = egress.check(plain.into()).is_ok();
        let forms = [
            plain.to_ipv6_mapped(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        ];
        for form in forms {
            prop_assert_eq!(egress.check(form.into()).is_ok(), public, "{}", form);
        }
    }

    #[test]
    fn nothing_outside_the_public_block_of_ipv6_is_called(bits: u128) {
        let outer = Ipv6Addr::from_bits(bits);
        let holds_ipv4 = addresses::inner(outer.into()).is_ipv4();
        let outside = outer.segments()[0] >> 13 != 1;
        prop_assume!(outside && !holds_ipv4);
        prop_assert!(Egress::default().check(outer.into()).is_err());
    }
}
