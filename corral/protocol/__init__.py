"""What goes over the wire: headers, control messages, tensor specs, unrolls, sockets and their limits.

The normative text is docs/protocol.md. numpy, pyzmq and msgpack only.
"""

from corral.protocol.control import (
    Change,
    Command,
    Failure,
    Hello,
    Question,
    Report,
    UnrollManifest,
    WeightManifest,
    Welcome,
    Work,
    pack_control,
    unpack_control,
    unpack_optional,
)
from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.header import (
    ENDED,
    HEADER_BYTES,
    ROW,
    VERSION,
    Header,
    MessageType,
    RowFlags,
    pack_header,
    unpack_header,
)
from corral.protocol.sockets import AddressError, is_private, open_dealer, open_router, remove_socket_file
from corral.protocol.specs import Spec, TensorSpec, describe, mismatch, spec_from_wire, spec_to_wire
from corral.protocol.status import change_settings, fetch_status, send_command
from corral.protocol.unrolls import TIME_SPEC, StepType, Unroll

__all__ = [
    "ENDED",
    "HEADER_BYTES",
    "ROW",
    "TIME_SPEC",
    "VERSION",
    "AddressError",
    "Change",
    "Command",
    "ErrorCode",
    "Failure",
    "Header",
    "Hello",
    "MessageType",
    "ProtocolError",
    "Question",
    "Report",
    "RowFlags",
    "Spec",
    "StepType",
    "TensorSpec",
    "Unroll",
    "UnrollManifest",
    "WeightManifest",
    "Welcome",
    "Work",
    "change_settings",
    "describe",
    "fetch_status",
    "is_private",
    "mismatch",
    "open_dealer",
    "open_router",
    "pack_control",
    "pack_header",
    "remove_socket_file",
    "send_command",
    "spec_from_wire",
    "spec_to_wire",
    "unpack_control",
    "unpack_header",
    "unpack_optional",
]
