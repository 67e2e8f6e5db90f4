//! PROXY headers: whose a connection is, as a proxy says that only moves bytes.

use crate::support::{Client, Gateway, Origin, Reply, is_turned_away};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";

/// A gateway whose first listener takes PROXY headers from these networks.
fn start(origin: &Origin, trusted: &str, server: &str) -> Gateway {
    let config = Gateway::config(origin.address, "", "")
        .replace("[server]\n", &format!("[server]\nheader_timeout = \"500ms\"\n{server}\n"));
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let proxied = format!("{listener}proxy_protocol = true\ntrusted_proxies = [\"{trusted}\"]\n");
    Gateway::start(&config.replace(listener, &proxied))
}

/// Version 2 (section 2.2 of the specification).
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

#[tokio::test]
async fn the_header_says_who_the_client_is() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = start(&origin, "127.0.0.0/8", "");
    let four = [192, 0, 2, 9, 10, 0, 0, 1, 0, 9, 0, 80];
    let mut six = [0; 36];
    (six[0], six[1], six[15]) = (0x20, 1, 9);
    let tlvs = [&four[..], &[4, 0, 3, 0, 0, 0]].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n".to_vec(), "2001:db8::7"),
        // It speaks for itself, and is trusted.
        (b"PROXY UNKNOWN\r\n".to_vec(), "6.6.6.6, 127.0.0.1"),
        (binary(0x21, 0x11, &four), "192.0.2.9"),
        (binary(0x21, 0x11, &tlvs), "192.0.2.9"),
        (binary(0x21, 0x11, &[&four[..], &[3, 0, 4, 0xfe, 0x52, 0xce, 0xd5]].concat()), "192.0.2.9"),
        (binary(0x21, 0x21, &six), "2001::9"),
        (binary(0x20, 0, b""), "6.6.6.6, 127.0.0.1"),
        (binary(0x21, 0, b""), "6.6.6.6, 127.0.0.1"),
    ] {
        for at_once in [true, false] {
            let mut connection = Client::connect(gateway.address).await;
            if at_once {
                connection.write([&header[..], GET.as_bytes()].concat()).await;
            } else {
                for byte in &header {
                    connection.write([*byte]).await;
                }
                connection.write(GET).await;
            }
            assert_eq!(connection.response().await.status(), 200, "{header:?}");
            let asked = origin.asked().pop().unwrap().request;
            assert_eq!(asked.field("x-forwarded-for"), Some(client), "{header:?}");
        }
    }
}

#[tokio::test]
async fn what_has_no_good_header_is_closed() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = start(&origin, "127.0.0.0/8", "");
    let four = [192, 0, 2, 9, 10, 0, 0, 1, 0, 9, 0, 80, 3, 0, 4, 1, 2, 3, 4];
    let cases: [(&[u8], &str); 7] = [
        (GET.as_bytes(), "proxy_header"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n", "proxy_header"),
        (&binary(0x21, 0x11, &[0; 11]), "proxy_header"),
        (&binary(0x21, 0x11, &[0; 5000]), "proxy_header"),
        // A checksum that is another header's (section 2.2.3).
        (&binary(0x21, 0x11, &four), "proxy_header"),
        // The time for a head is for this one too.
        (b"PROXY TCP4 192.0.2.7 10.0", "proxy_header_timeout"),
        (b"", "proxy_header_timeout"),
    ];
    for (send, reason) in cases {
        let counted = || async {
            gateway.metrics().await.sum("forebay_refused_connections_total", &[("reason", reason)])
        };
        let before = counted().await;
        let mut client = Client::connect(gateway.address).await;
        client.write(send).await;
        client.write(if reason == "proxy_header" { GET } else { "" }).await;
        assert!(client.rest().await.is_empty());
        assert_eq!(counted().await, before + 1.0, "{:?}", String::from_utf8_lossy(send));
    }
    assert!(origin.asked().is_empty());
    gateway.wait_for("forebay_connections_open", &[], |now| now == 0.0).await;
}

#[tokio::test]
async fn nobody_else_may_say_so() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = start(&origin, "10.0.0.0/8", "");
    for send in [format!("PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n{GET}"), GET.to_owned()] {
        assert!(is_turned_away(gateway.address, send).await);
    }
    let refused = [("reason", "proxy_untrusted")];
    gateway.wait_for("forebay_refused_connections_total", &refused, |now| now == 2.0).await;
    assert!(origin.asked().is_empty());
}

/// The client counts, not the proxy it comes through.
#[tokio::test]
async fn limits_are_for_the_client_it_names() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = start(&origin, "127.0.0.0/8", "max_connections_per_address = 2");
    let mut held = Vec::new();
    for (client, status) in [(1, 200), (1, 200), (1, 0), (2, 200), (2, 200), (2, 0), (3, 200)] {
        let mut connection = Client::connect(gateway.address).await;
        connection.write(format!("PROXY TCP4 192.0.2.{client} 10.0.0.1 5000 80\r\n{GET}")).await;
        assert_eq!(connection.response().await.status(), status, "{client}");
        held.push(connection);
    }
}
