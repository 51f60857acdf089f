"""The numbers that Conch's `filetransfer` has beside those of `limpet.wire.sftp`.

Rule: a number that the protocol's version 3 has stands there, and here only under its other name.
"""

from __future__ import annotations

from limpet.wire.sftp import (
    ATTR_ACMODTIME,
    ATTR_EXTENDED,
    ATTR_PERMISSIONS,
    ATTR_SIZE,
    ATTR_UIDGID,
    FX_FAILURE,
)

FILEXFER_ATTR_SIZE = ATTR_SIZE
FILEXFER_ATTR_UIDGID = ATTR_UIDGID
FILEXFER_ATTR_OWNERGROUP = ATTR_UIDGID
FILEXFER_ATTR_PERMISSIONS = ATTR_PERMISSIONS
FILEXFER_ATTR_ACMODTIME = ATTR_ACMODTIME
FILEXFER_ATTR_EXTENDED = ATTR_EXTENDED

# Types of files, from version 4 on (draft-ietf-secsh-filexfer-13 section 7.2).
FILEXFER_TYPE_REGULAR = 1
FILEXFER_TYPE_DIRECTORY = 2
FILEXFER_TYPE_SYMLINK = 3
FILEXFER_TYPE_SPECIAL = 4
FILEXFER_TYPE_UNKNOWN = 5

# Version 3 has no codes for these.
FX_NOT_A_DIRECTORY = FX_FAILURE
FX_FILE_IS_A_DIRECTORY = FX_FAILURE
