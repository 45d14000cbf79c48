"""Files of others, opened so that nobody is in their way.

On Windows an open file cannot be renamed or deleted unless every opener has allowed it; Python's own ``open``
does not. A log that we look at must still rotate, so there it is opened by CreateFile with all sharing
allowed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import errno
    import msvcrt
    import os

    import pywintypes
    import win32con
    import win32file

    _SHARE = win32con.FILE_SHARE_READ | win32con.FILE_SHARE_WRITE | win32con.FILE_SHARE_DELETE
    _NOT_THERE = (2, 3)

    def open_shared(path: Path) -> BinaryIO:
        """To read, as bytes; raises OSError as ``open`` does."""
        try:
            handle = win32file.CreateFile(
                str(path),
                win32con.GENERIC_READ,
                _SHARE,
                None,
                win32con.OPEN_EXISTING,
                win32con.FILE_ATTRIBUTE_NORMAL,
                None,
            )
        except pywintypes.error as fault:
            number = errno.ENOENT if fault.winerror in _NOT_THERE else errno.EACCES
            raise OSError(number, fault.strerror, str(path), fault.winerror) from None
        descriptor = msvcrt.open_osfhandle(int(handle.Detach()), os.O_RDONLY | os.O_BINARY)
        return os.fdopen(descriptor, "rb")

else:

    def open_shared(path: Path) -> BinaryIO:
        """To read, as bytes; raises OSError as ``open`` does."""
        return path.open("rb")
