"""Headers sent twice: Envoy joins those it keeps in a fixed slot with a comma, others stay apart."""

from envoy_recorder.head_cases.build import lines

NAMES = """
accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-headers
access-control-request-headers access-control-request-method access-control-request-private-network
age alt-svc authentication authorization cache-control cache-status cdn-loop client-trace-id
content-disposition content-encoding content-language content-location content-range content-type
cookie date dnt early-data etag expect expires forwarded from grpc-accept-encoding grpc-encoding
grpc-internal-encoding-request grpc-message grpc-status grpc-timeout host http2-settings
if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive last-modified link
location max-forwards method origin path pragma priority proxy-authenticate proxy-authorization
proxy-connection proxy-status range referer retry-after scheme sec-fetch-mode sec-websocket-key
server set-cookie status te traceparent tracestate trailer transfer-encoding upgrade
upgrade-insecure-requests user-agent vary via warning www-authenticate x-amzn-trace-id
x-b3-flags x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid b3 x-client-trace-id
x-cloud-trace-context x-correlation-id x-csrf-token x-datadog-trace-id
x-envoy-attempt-count x-envoy-decorator-operation x-envoy-downstream-service-cluster
x-envoy-downstream-service-node x-envoy-expected-rq-timeout-ms x-envoy-external-address
x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags
x-envoy-is-timeout-retry x-envoy-max-retries x-envoy-original-dst-host x-envoy-original-host
x-envoy-original-method x-envoy-original-path x-envoy-original-scheme x-envoy-original-url
x-envoy-overloaded x-envoy-peer-metadata x-envoy-peer-metadata-id x-envoy-retriable-header-names
x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on
x-envoy-upstream-alt-stat-name x-envoy-upstream-canary x-envoy-upstream-rq-per-try-timeout-ms
x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms
x-envoy-upstream-service-time x-envoy-upstream-stream-duration-ms x-forwarded-client-cert
x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-frame-options
x-http-method-override x-method-override x-ot-span-context x-real-ip x-request-id
x-requested-with x-squash-debug x-user end-user connection
"""


def heads() -> list[dict]:
    """See the module."""
    listed = [lines(f"{name}: a", f"{name}: b") for name in NAMES.split()]
    listed += [lines(*header) for header in (
        ["accept: a", "accept:"], ["accept:", "accept: b"], ["accept:", "accept:"],
        ["accept: a", "x-a: 1", "Accept: b", "accept: c"], ["accept: a,", "accept: b"],
        ["user-agent: a", "user-agent: a"], ["x-a: 1", "accept: a", "x-a: 2", "accept: b"],
        ["cookie: a", "cookie: b", "cookie: c"], ["cookie:", "cookie: b"])]
    return listed
