"""Wire: protobuf of SwarmKit, of `shoal.v1` and of etcd, and the one conversion wire <-> model.

`proto/` holds the messages, written here from the public field numbers; `scripts/protoc` compiles them into `pb/`,
which is committed and never edited. `convert_*` are the conversions by subject, over `basics`; `grpc` has errors,
channels and the server. Imports `kit` and `model`.
"""
