"""Access lists of files and membership in groups, over win32security and win32net. What they should be says
rights.py."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # read by type checkers too

from pathlib import Path
from typing import Any

import pywintypes
import win32api
import win32con
import win32net
import win32security

from agent.windows.rights import ADMINISTRATORS, Ace, allowed, directory_sddl, file_sddl, may_own, strangers

_REVISION = 1
_MEMBER_ALREADY, _NO_MEMBER = 1378, 1377


def me() -> str:
    """SID of the account that runs this process."""
    token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
    try:
        found = win32security.GetTokenInformation(token, win32security.TokenUser)[0]
        return str(win32security.ConvertSidToStringSid(found))
    finally:
        win32api.CloseHandle(token)


def _also() -> tuple[str, ...]:
    """Whoever runs this, unless as an administrator: an administrator's account gets no rights of its own, or
    the service would find a stranger's in a file that the administrator made."""
    is_member: Any = win32security.CheckTokenMembership  # None stands for this thread; its stub knows no None
    return () if is_member(None, win32security.ConvertStringSidToSid(ADMINISTRATORS)) else (me(),)


def protect_file(path: Path) -> None:
    """Only the system, administrators, the service, and whoever runs this without being one of those. Raises
    OSError."""
    _set_list(path, file_sddl(allowed(_also())))


def protect_directory(path: Path) -> None:
    """Only the system, administrators and the service, there and in all that is made there; owned by the
    administrators. Raises OSError."""
    _set_list(path, directory_sddl(allowed()), owner=True)


def close_directory(path: Path) -> None:
    """As above; somebody who is no administrator keeps it for himself (and the service). Raises OSError."""
    also = _also()
    _set_list(path, directory_sddl(allowed(also)), owner=not also)


def outsiders(path: Path) -> tuple[str, ...]:
    """SIDs that may use a file though it is private; raises OSError."""
    try:
        info = win32security.DACL_SECURITY_INFORMATION
        found = win32security.GetFileSecurity(str(path), info).GetSecurityDescriptorDacl()
    except pywintypes.error as fault:
        raise _os_error(fault, path) from None
    aces = None if found is None else [_ace(found.GetAce(number)) for number in range(found.GetAceCount())]
    return strangers(aces, allowed(_also()))


def has_foreign_owner(path: Path) -> bool:
    """Somebody without rights here made it: see rights.may_own. Raises OSError."""
    try:
        info = win32security.OWNER_SECURITY_INFORMATION
        owner = win32security.GetFileSecurity(str(path), info).GetSecurityDescriptorOwner()
        return not may_own(str(win32security.ConvertSidToStringSid(owner)), [me()])
    except pywintypes.error as fault:
        raise _os_error(fault, path) from None


def join(group: str, member: str) -> None:
    """Make a SID a member of a local group, given by its SID; raises OSError."""
    _membership(win32net.NetLocalGroupAddMembers, group, member, _MEMBER_ALREADY)


def leave(group: str, member: str) -> None:
    """Take it out again; raises OSError."""
    sid = win32security.ConvertStringSidToSid(member)
    try:
        account, domain, _ = win32security.LookupAccountSid(None, sid)
    except pywintypes.error:
        return  # a SID that names nobody any more
    name = f"{domain}\\{account}"
    _membership(
        lambda server, where, level, _: win32net.NetLocalGroupDelMembers(server, where, [name]),
        group,
        member,
        _NO_MEMBER,
    )


def _membership(change: Any, group: str, member: str, harmless: int) -> None:
    try:
        where = win32security.LookupAccountSid(None, win32security.ConvertStringSidToSid(group))[0]
        change(None, where, 0, [{"sid": win32security.ConvertStringSidToSid(member)}])
    except pywintypes.error as fault:
        if fault.winerror != harmless:
            raise _os_error(fault, Path(group)) from None


def _set_list(path: Path, sddl: str, *, owner: bool = False) -> None:
    try:
        wanted = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(sddl, _REVISION)
        info = win32security.DACL_SECURITY_INFORMATION | win32security.PROTECTED_DACL_SECURITY_INFORMATION
        info |= win32security.OWNER_SECURITY_INFORMATION if owner else 0
        win32security.SetNamedSecurityInfo(
            str(path),
            win32security.SE_FILE_OBJECT,
            info,
            wanted.GetSecurityDescriptorOwner() if owner else None,
            None,
            wanted.GetSecurityDescriptorDacl(),
            None,
        )
    except pywintypes.error as fault:
        raise _os_error(fault, path) from None


def _ace(found: Any) -> Ace:
    """pywin32 gives ((type, flags), mask, sid) and, for entries about objects, more before the sid."""
    return Ace(found[0][0], found[0][1], found[1], str(win32security.ConvertSidToStringSid(found[-1])))


def _os_error(fault: pywintypes.error, path: Path) -> OSError:
    """As the standard library would have said it: OSError takes Windows' number as its fourth."""
    return OSError(0, fault.strerror, str(path), fault.winerror)
