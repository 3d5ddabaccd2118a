from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class NetworkAck(_message.Message):
    __slots__ = ("session_id", "sequence")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    sequence: int
    def __init__(self, session_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class NetworkPush(_message.Message):
    __slots__ = ("sequence", "update")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    update: bytes
    def __init__(self, sequence: _Optional[int] = ..., update: _Optional[bytes] = ...) -> None: ...

class JoinManagerRequest(_message.Message):
    __slots__ = ("node_id", "peer_url", "manager_addr")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_URL_FIELD_NUMBER: _ClassVar[int]
    MANAGER_ADDR_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    peer_url: str
    manager_addr: str
    def __init__(self, node_id: _Optional[str] = ..., peer_url: _Optional[str] = ..., manager_addr: _Optional[str] = ...) -> None: ...

class JoinManagerResponse(_message.Message):
    __slots__ = ("store_key_id", "store_key", "member_id", "initial_cluster", "member_name", "managers")
    class ManagersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STORE_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    STORE_KEY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    INITIAL_CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAME_FIELD_NUMBER: _ClassVar[int]
    MANAGERS_FIELD_NUMBER: _ClassVar[int]
    store_key_id: int
    store_key: bytes
    member_id: int
    initial_cluster: str
    member_name: str
    managers: _containers.ScalarMap[str, str]
    def __init__(self, store_key_id: _Optional[int] = ..., store_key: _Optional[bytes] = ..., member_id: _Optional[int] = ..., initial_cluster: _Optional[str] = ..., member_name: _Optional[str] = ..., managers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class LeaveManagerRequest(_message.Message):
    __slots__ = ("node_id",)
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    def __init__(self, node_id: _Optional[str] = ...) -> None: ...

class LeaveManagerResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLeaderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLeaderResponse(_message.Message):
    __slots__ = ("node_id", "addr")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    addr: str
    def __init__(self, node_id: _Optional[str] = ..., addr: _Optional[str] = ...) -> None: ...
