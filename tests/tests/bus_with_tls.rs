//! The bus over TLS, on a Mosquitto with a certificate of our own authority.

use bus::{BrokerUrl, Message, OpenError, SessionOptions, TlsError};
use mds_tests::certificates::Authority;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;

fn broker(authority: &Authority, names: &str) -> Mosquitto {
    let server = authority.sign(names);
    Mosquitto::start_with(&format!(
        "allow_anonymous true\ncertfile {}\nkeyfile {}\n",
        server.certificate.display(),
        server.key.display()
    ))
}

fn options(broker: &Mosquitto, host: &str, authority: &Authority) -> SessionOptions {
    let url: BrokerUrl = format!("mqtts://{host}:{}", broker.address().port()).parse().expect("a valid URL");
    SessionOptions {
        subscriptions: vec!["x".to_owned()],
        ca_file: Some(authority.certificate()),
        ..SessionOptions::new(url, "client")
    }
}

#[tokio::test]
async fn a_large_message_goes_to_a_trusted_broker_and_back_by_name_and_by_address() {
    needs_mosquitto!();
    let authority = Authority::new();
    let broker = broker(&authority, "DNS:localhost,IP:127.0.0.1");
    for host in ["localhost", "127.0.0.1"] {
        let (outbox, mut inbox) = bus::open(options(&broker, host, &authority)).await.unwrap();
        outbox.publish(Message::new("x", vec![3; 1 << 20]));
        assert_eq!(inbox.recv().await.unwrap().payload, vec![3; 1 << 20]);
        outbox.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_of_another_authority_or_name_is_refused() {
    needs_mosquitto!();
    let authority = Authority::new();
    let broker = broker(&authority, "DNS:other.example");
    for (trusted, reason) in [(&Authority::new(), "BadSignature"), (&authority, "not valid for name")] {
        let error = bus::open(options(&broker, "127.0.0.1", trusted)).await.unwrap_err();
        assert!(matches!(error, OpenError::Tls { source: TlsError::Handshake(_), .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_file_without_certificates_is_named() {
    needs_mosquitto!();
    let authority = Authority::new();
    let broker = broker(&authority, "IP:127.0.0.1");
    let empty = broker.directory().join("mosquitto.conf");
    for file in [empty, "/does/not/exist".into()] {
        let options =
            SessionOptions { ca_file: Some(file.clone()), ..options(&broker, "127.0.0.1", &authority) };
        let error = bus::open(options).await.unwrap_err();
        assert!(matches!(error, OpenError::Tls { source: TlsError::CaFile { .. }, .. }), "{error}");
        assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
    }
}

#[tokio::test]
async fn tls_on_a_plain_port_and_no_tls_on_a_tls_port_are_errors() {
    needs_mosquitto!();
    let authority = Authority::new();
    let plain = Mosquitto::start();
    let error = bus::open(options(&plain, &plain.address().ip().to_string(), &authority)).await.unwrap_err();
    assert!(matches!(error, OpenError::Tls { source: TlsError::Handshake(_), .. }), "{error}");

    let with_tls = broker(&authority, "IP:127.0.0.1");
    let broker = with_tls.url().parse().unwrap();
    let error = bus::open(SessionOptions::new(broker, "client")).await.unwrap_err();
    assert!(matches!(error, OpenError::HungUp { .. }), "{error}");
    assert!(error.to_string().contains("without TLS"), "{error}");
}
