"""Access lists and groups as win32security and win32net show them; SDDL is really read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.agent.windows.world import WinError, World

EVERYBODY = "S-1-1-0"
ADMINISTRATOR = "S-1-5-21-1-2-3-500"
_ALIASES = {"BA": "S-1-5-32-544", "SY": "S-1-5-18", "WD": EVERYBODY}
_MASKS = {"FA": 0x1F01FF, "FR": 0x120089}
_ACE = re.compile(r"\((\w*);(\w*);(\w*);(\w*);(\w*);([\w-]+)\)")
_DACL, _OWNER, _PROTECTED = 0x4, 0x1, 0x80000000


class Sid:
    """PySID."""

    def __init__(self, text: str) -> None:
        assert re.fullmatch(r"S-1-\d+(-\d+)+", text), f"no SID: {text}"
        self.text = text


class Acl:
    """PyACL."""

    def __init__(self, aces: list[tuple[tuple[int, int], int, Sid]]) -> None:
        self.aces = aces

    def GetAceCount(self) -> int:
        return len(self.aces)

    def GetAce(self, index: int) -> tuple[tuple[int, int], int, Sid]:
        assert 0 <= index < len(self.aces)
        return self.aces[index]


class Descriptor:
    """PySECURITY_DESCRIPTOR."""

    def __init__(self, owner: Sid | None, acl: Acl | None, *, protected: bool = False) -> None:
        self.owner = owner
        self.acl = acl
        self.protected = protected

    def GetSecurityDescriptorDacl(self) -> Acl | None:
        return self.acl

    def GetSecurityDescriptorOwner(self) -> Sid | None:
        return self.owner


def parse_sddl(text: str) -> Descriptor:
    found = re.fullmatch(r"(?:O:([A-Z]{2}|S-[\d-]+?))?D:(P?)((?:\([^)]*\))*)", text)
    assert found is not None, f"Windows would refuse {text}"
    aces = []
    for kind, flags, rights, _, _, sid in _ACE.findall(found[3]):
        assert kind == "A"
        mask = _MASKS[rights] if rights in _MASKS else int(rights, 16)
        flag_bits = sum({"OI": 1, "CI": 2}[flags[i : i + 2]] for i in range(0, len(flags), 2))
        aces.append(((0, flag_bits), mask, Sid(_ALIASES.get(sid, sid))))
    owner = Sid(_ALIASES.get(found[1], found[1])) if found[1] else None
    return Descriptor(owner, Acl(aces), protected=bool(found[2]))


class Files:
    """Descriptors by path, members by group; ``user`` runs the program."""

    def __init__(self, world: World, *, user: str = ADMINISTRATOR, admin: bool = True) -> None:
        self.known: dict[str, Descriptor] = {}
        self.groups: dict[str, set[str]] = {"Leistungsüberwachungsbenutzer": set()}
        self.accounts = {"S-1-5-32-558": ("Leistungsüberwachungsbenutzer", "VORDEFINIERT", 4)}
        self.user = user
        self.admin = admin
        names = (
            *("GetFileSecurity", "SetNamedSecurityInfo", "ConvertSidToStringSid", "ConvertStringSidToSid"),
            *("ConvertStringSecurityDescriptorToSecurityDescriptor", "LookupAccountSid", "OpenProcessToken"),
            *("GetTokenInformation", "CheckTokenMembership"),
        )
        world.module(
            "win32security",
            DACL_SECURITY_INFORMATION=_DACL,
            OWNER_SECURITY_INFORMATION=_OWNER,
            PROTECTED_DACL_SECURITY_INFORMATION=_PROTECTED,
            SE_FILE_OBJECT=1,
            TokenUser=1,
            **{name: getattr(self, name) for name in names},
        )
        world.module("win32api", GetCurrentProcess=lambda: -1, CloseHandle=lambda handle: handle.Close())
        world.module("win32con", TOKEN_QUERY=8)
        world.module(
            "win32net",
            NetLocalGroupAddMembers=self.NetLocalGroupAddMembers,
            NetLocalGroupDelMembers=self.NetLocalGroupDelMembers,
        )
        self._world = world

    def of(self, path: Path) -> Descriptor:
        """The descriptor; what nobody has set is inherited from ProgramData, where users may write."""
        return self.known.get(str(path)) or Descriptor(Sid(self.user), parse_sddl("D:(A;;FA;;;WD)").acl)

    def GetFileSecurity(self, path: str, info: int) -> Descriptor:
        assert isinstance(path, str)
        if not Path(path).exists():
            raise WinError(2, "GetFileSecurity", "The system cannot find the file specified.")
        return self.of(Path(path))

    def SetNamedSecurityInfo(
        self, path: str, kind: int, info: int, owner: Sid | None, group: Any, dacl: Acl | None, sacl: Any
    ) -> None:
        assert kind == 1
        assert group is None
        assert sacl is None
        assert (owner is not None) == bool(info & _OWNER)
        assert (dacl is not None) == bool(info & _DACL)
        if not Path(path).exists():
            raise WinError(2, "SetNamedSecurityInfo", "The system cannot find the file specified.")
        before = self.of(Path(path))
        self.known[path] = Descriptor(owner or before.owner, dacl, protected=bool(info & _PROTECTED))

    def ConvertSidToStringSid(self, sid: Sid) -> str:
        assert isinstance(sid, Sid)
        return sid.text

    def ConvertStringSidToSid(self, text: str) -> Sid:
        return Sid(text)

    def ConvertStringSecurityDescriptorToSecurityDescriptor(self, text: str, revision: int) -> Descriptor:
        assert revision == 1
        return parse_sddl(text)

    def LookupAccountSid(self, system: str | None, sid: Sid) -> tuple[str, str, int]:
        assert isinstance(sid, Sid)
        if sid.text not in self.accounts:
            raise WinError(
                1332, "LookupAccountSid", "No mapping between account names and security IDs was done."
            )
        return self.accounts[sid.text]

    def OpenProcessToken(self, process: int, access: int) -> Any:
        from tests.agent.windows.world import Handle

        assert process == -1
        assert access == 8
        return Handle(self._world, "token")

    def GetTokenInformation(self, token: Any, kind: int) -> tuple[Sid, int]:
        token.use("token")
        assert kind == 1
        return Sid(self.user), 0

    def CheckTokenMembership(self, token: Any, sid: Sid) -> bool:
        assert token is None
        assert sid.text == _ALIASES["BA"]
        return self.admin

    def NetLocalGroupAddMembers(self, server: Any, group: str, level: int, members: list[Any]) -> None:
        assert server is None
        assert level == 0
        for member in members:
            sid = member["sid"]
            assert isinstance(sid, Sid)
            if not self.admin:
                raise WinError(5, "NetLocalGroupAddMembers", "Access is denied.")
            if sid.text in self.groups[group]:
                raise WinError(1378, "NetLocalGroupAddMembers", "The account is already a member.")
            self.groups[group].add(sid.text)

    def NetLocalGroupDelMembers(self, server: Any, group: str, members: list[str]) -> None:
        assert server is None
        named = {f"{domain}\\{account}": sid for sid, (account, domain, _) in self.accounts.items()}
        for member in members:
            if named[member] not in self.groups[group]:
                raise WinError(1377, "NetLocalGroupDelMembers", "The account is no member.")
            self.groups[group].discard(named[member])
