//! Real TLS on loopback, with the configurations that the product uses.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::NamedService;
use tonic::transport::{ClientTlsConfig, Endpoint, Server};
use tower::{Service, ServiceExt};

use super::super::authority::Authority;
use super::super::identity::{Identity, Peer};
use super::super::pin::{self, fetch_authority};
use super::{authority, controller, expired, member, peer};

const DEADLINE: Duration = Duration::from_secs(10);
const CALLER: &str = "x-caller";

/// Answers every call with the caller's name.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl Service<http::Request<Body>> for WhoAmI {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let caller = match Peer::of_request(&tonic::Request::from_http(request)) {
            Ok(Some(peer)) => peer.to_string(),
            Ok(None) => "nobody".into(),
            Err(error) => format!("refused: {error}"),
        };
        ready(Ok(http::Response::builder().header(CALLER, caller).body(Body::empty()).expect("a name is a header")))
    }
}

/// A server that ends with the test.
struct Running {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

async fn serve(identity: &Identity) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = Server::builder().tls_config(identity.server_tls()).expect("a usable identity").add_service(WhoAmI);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        router.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("it serves until it is dropped");
    });
    Running { address, _tasks: tasks }
}

/// Calls the server and returns how it names the caller.
async fn ask(address: SocketAddr, tls: ClientTlsConfig) -> Result<String, Box<dyn StdError + Send + Sync>> {
    let call = async {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
        let mut channel = endpoint.connect().await?;
        let request = http::Request::post(format!("https://{address}/test.WhoAmI/Ask")).body(Body::empty())?;
        let response = channel.ready().await?.call(request).await?;
        Ok(response.headers()[CALLER].to_str()?.to_string())
    };
    tokio::time::timeout(DEADLINE, call).await.expect("loopback answers within the deadline")
}

/// Returns what TLS said, somewhere below an error.
fn tls_cause(error: &(dyn StdError + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found.clone());
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

async fn refusal(address: SocketAddr, tls: ClientTlsConfig) -> Option<rustls::Error> {
    let error = ask(address, tls).await.expect_err("the handshake must fail");
    tls_cause(&*error)
}

#[tokio::test]
async fn members_know_each_other_by_name() {
    let authority = authority();
    let server = serve(&member(&authority, &controller(1))).await;
    for name in ["controller-2", "h1.agent", "ada.operator"] {
        let client = member(&authority, &peer(name));
        assert_eq!(ask(server.address, client.client_tls(&controller(1))).await.expect("a member"), name);
    }
}

#[tokio::test]
async fn another_node_than_the_addressed_one_is_refused() {
    let authority = authority();
    let server = serve(&member(&authority, &controller(1))).await;
    let client = member(&authority, &controller(3));
    let cause = refusal(server.address, client.client_tls(&controller(2))).await;
    let Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) = cause
    else {
        panic!("{cause:?}");
    };
    assert_eq!(presented, [r#"DnsName("controller-1")"#]);
}

#[tokio::test]
async fn an_agent_cannot_pass_for_a_controller() {
    let authority = authority();
    let server = serve(&member(&authority, &peer("controller-1.agent"))).await;
    let client = member(&authority, &controller(3));
    let cause = refusal(server.address, client.client_tls(&controller(1))).await;
    let expected =
        matches!(cause, Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
    assert!(expected, "{cause:?}");
}

#[tokio::test]
async fn a_server_whose_certificate_has_ended_is_refused() {
    let authority = authority();
    let server = serve(&expired(&authority, &controller(1))).await;
    let client = member(&authority, &controller(2));
    let cause = refusal(server.address, client.client_tls(&controller(1))).await;
    let ended = matches!(cause, Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })));
    assert!(ended, "{cause:?}");
}

#[tokio::test]
async fn a_server_of_another_cluster_is_refused() {
    let server = serve(&member(&authority(), &controller(1))).await;
    let client = member(&authority(), &controller(2));
    let cause = refusal(server.address, client.client_tls(&controller(1))).await;
    // Two authorities of one cluster id have one name, so the signature is what tells them apart.
    let foreign = matches!(
        cause,
        Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature | CertificateError::UnknownIssuer))
    );
    assert!(foreign, "{cause:?}");
}

/// Connects as `client` to a server of `authority` that must refuse it. The certificate is refused after the client's
/// side of the handshake (TLS 1.3), so the client sees an alert, or only that the connection went.
async fn refused_by_server(authority: &Authority, client: &Identity, alerts: &[AlertDescription]) {
    let server = serve(&member(authority, &controller(1))).await;
    let trusting = Identity::from_pem(client.certificate_pem(), client.key_pem().clone(), authority.certificate_pem());
    let tls = trusting.expect("key and certificate fit").client_tls(&controller(1));
    if let Some(cause) = refusal(server.address, tls).await {
        let expected = alerts.iter().any(|alert| cause == rustls::Error::AlertReceived(*alert));
        assert!(expected, "{cause:?}");
    }
    let welcome = member(authority, &controller(2)).client_tls(&controller(1));
    assert_eq!(ask(server.address, welcome).await.expect("the server still serves"), "controller-2");
}

#[tokio::test]
async fn a_client_whose_certificate_has_ended_is_refused() {
    let authority = authority();
    let client = expired(&authority, &controller(2));
    refused_by_server(&authority, &client, &[AlertDescription::CertificateExpired]).await;
}

#[tokio::test]
async fn a_client_of_another_cluster_is_refused() {
    let client = member(&authority(), &controller(2));
    refused_by_server(&authority(), &client, &[AlertDescription::DecryptError, AlertDescription::UnknownCA]).await;
}

#[tokio::test]
async fn a_joiner_finds_the_authority_that_its_token_names() {
    let authority = authority();
    let server = serve(&member(&authority, &controller(4))).await;
    let address = server.address.to_string();
    let pinned = fetch_authority(&address, authority.fingerprint(), DEADLINE).await.expect("the right cluster");
    assert_eq!((pinned.authority, Peer::Controller(pinned.controller)), (authority.fingerprint(), controller(4)));
    assert_eq!(ask(server.address, pinned.client_tls()).await.expect("a trusting connection"), "nobody");
}

#[tokio::test]
async fn a_joiner_refuses_another_authority_before_it_sends_anything() {
    let (ours, theirs) = (authority(), authority());
    let server = serve(&member(&theirs, &controller(1))).await;
    let address = server.address.to_string();
    let error = fetch_authority(&address, ours.fingerprint(), DEADLINE).await.expect_err("another cluster");
    let pin::Error::WrongAuthority { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *found), (ours.fingerprint(), theirs.fingerprint()));
    assert!(error.to_string().contains("was not sent"), "{error}");
}

#[tokio::test]
async fn an_impostor_that_shows_the_right_authority_is_found_by_the_trusting_connection() {
    let (ours, theirs) = (authority(), authority());
    let impostor = member(&theirs, &controller(1));
    let impostor = Identity::from_pem(impostor.certificate_pem(), impostor.key_pem().clone(), ours.certificate_pem());
    let server = serve(&impostor.expect("key and certificate fit")).await;
    let address = server.address.to_string();
    let pinned = fetch_authority(&address, ours.fingerprint(), DEADLINE).await.expect("it shows the right one");
    let cause = refusal(server.address, pinned.client_tls()).await;
    assert!(matches!(cause, Some(rustls::Error::InvalidCertificate(_))), "{cause:?}");
}

#[tokio::test]
async fn a_joiner_refuses_an_agent_as_its_first_contact() {
    let authority = authority();
    let server = serve(&member(&authority, &peer("h1.agent"))).await;
    let address = server.address.to_string();
    let error = fetch_authority(&address, authority.fingerprint(), DEADLINE).await.expect_err("no controller");
    assert!(matches!(error, pin::Error::NotAController { source: None, .. }), "{error}");
}

#[tokio::test]
async fn a_closed_a_silent_and_a_foolish_port_are_told_apart() {
    let expected = authority().fingerprint();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let short = Duration::from_millis(200);
    let error = fetch_authority(&address, expected, short).await.expect_err("nobody accepts");
    assert!(matches!(error, pin::Error::TimedOut { limit, .. } if limit == short), "{error}");

    let answer = async {
        // The first connection is the one that nobody answered.
        for _ in 0..2 {
            let (socket, _) = listener.accept().await.expect("a connection");
            socket.writable().await.expect("it is open");
            // It may be closed by its other end already.
            socket.try_write(b"220 mail.example ESMTP\r\n").ok();
        }
    };
    let (error, ()) = tokio::join!(fetch_authority(&address, expected, DEADLINE), answer);
    assert!(matches!(error, Err(pin::Error::Handshake { .. })), "{error:?}");

    drop(listener);
    let error = fetch_authority(&address, expected, DEADLINE).await.expect_err("nobody listens");
    assert!(matches!(error, pin::Error::Unreachable { .. }), "{error}");
}
