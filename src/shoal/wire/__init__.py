"""Wire: protobuf of SwarmKit, of `shoal.v1` and of etcd, and the one conversion wire <-> model.

`proto/` holds the messages, written here from the public field numbers; `scripts/protoc` compiles them into `pb/`,
which is committed and never edited. Imports `kit` and `model`.
"""
