"""Records what a real Envoy decides; used by ci/record-envoy and ci/record-heads."""


class RecorderError(Exception):
    """The recording cannot be made; the message says what to do about it."""
