//! An OTLP receiver, over gRPC and HTTP.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use warp::Filter;

/// A span as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace_id: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub(crate) kind: i32,
    /// 2 error.
    pub(crate) status: i32,
    pub(crate) attributes: HashMap<String, String>,
}

/// What was received so far.
#[derive(Clone, Default)]
pub(crate) struct Spans {
    spans: Arc<Mutex<Vec<Span>>>,
    /// Everything, as it was sent: names, attributes, events, links and resources.
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Spans {
    /// Every span of a trace.
    pub(crate) fn of(&self, trace_id: &str) -> Vec<Span> {
        self.spans
            .lock()
            .unwrap()
            .iter()
            .filter(|span| span.trace_id == trace_id)
            .cloned()
            .collect()
    }

    /// Everything that was sent. The texts in it are as they are.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn add(&self, request: ExportTraceServiceRequest) {
        self.bytes.lock().unwrap().extend(request.encode_to_vec());
        let mut spans = self.spans.lock().unwrap();
        for resource in request.resource_spans {
            let attributes = resource
                .resource
                .map(|resource| texts(resource.attributes))
                .unwrap_or_default();
            let service = attributes.get("service.name").cloned().unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind,
                    status: span.status.map_or(0, |status| status.code),
                    attributes: texts(span.attributes),
                });
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|pair| (pair.key, text(pair.value)))
        .collect()
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.add(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Receives over gRPC; returns the endpoint.
pub(crate) async fn grpc() -> (String, Spans) {
    let spans = Spans::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    });
    let server =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(spans.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    (endpoint, spans)
}

/// Receives over HTTP; returns the endpoint.
pub(crate) async fn http() -> (String, Spans) {
    let spans = Spans::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = spans.clone();
    #[expect(clippy::disallowed_methods, reason = "a receiver on loopback")]
    let body = warp::body::bytes();
    let routes = warp::path!("v1" / "traces")
        .and(warp::post())
        .and(body)
        .map(move |body: bytes::Bytes| {
            received.add(ExportTraceServiceRequest::decode(body).unwrap());
            warp::reply::with_header(String::new(), "content-type", "application/x-protobuf")
        })
        .recover(async |_| {
            Ok::<_, Infallible>(warp::reply::with_status(
                String::new(),
                warp::http::StatusCode::NOT_FOUND,
            ))
        });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(warp::service(routes.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    (endpoint, spans)
}
