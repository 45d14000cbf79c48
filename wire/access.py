"""Who is asking: the principal that an HTTP request was authenticated as.

Composition authenticates and sets ``request.state.principal``; each room's API calls ``require`` and
passes ``tenant_id`` into its queries, so that one customer can never read another's rows.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wire.problem import Forbidden, NotFound


class Role(StrEnum):
    """What a principal may do. Higher roles include lower ones (see ``_RANK``)."""

    AGENT = "agent"
    """An agent of a host: may send that host's batches, nothing else."""
    INTEGRATION = "integration"
    """A deployment's key: may push alerts for that deployment."""
    READER = "reader"
    """Reads one tenant (customer) or, for the vendor's staff, all tenants."""
    SUPPORT = "support"
    """Support staff: works on tickets, acknowledges, silences."""
    ADMIN = "admin"
    """Registry, keys, rule packs, paging switches."""


_RANK = {Role.AGENT: 0, Role.INTEGRATION: 0, Role.READER: 1, Role.SUPPORT: 2, Role.ADMIN: 3}


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller."""

    name: str
    """Shown in audit trails: a person's or a key's name."""
    role: Role
    tenant_id: int | None = None
    """The only tenant this principal may see; None = the vendor's staff, all tenants."""
    deployment_id: int | None = None
    """The only deployment this key may act for, where it is bound to one."""
    host_id: int | None = None
    """For agents: the host that the credential belongs to."""

    def require(self, role: Role) -> None:
        """Raise Forbidden unless this principal has at least ``role``."""
        if _RANK[self.role] < _RANK[role]:
            raise Forbidden(f"'{self.name}' has the role {self.role}; this needs the role {role}.")

    def scope(self, tenant_id: int | None) -> int | None:
        """The tenant to query: the principal's own, or the one asked for (None = all, staff only).

        Raises NotFound when a customer's key asks for another tenant."""
        if self.tenant_id is None:
            return tenant_id
        if tenant_id not in (None, self.tenant_id):
            raise NotFound("There is no such tenant for this key.")
        return self.tenant_id
