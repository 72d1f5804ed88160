"""Every write to tenants, people and keys: one verb each, atomic, audited."""

from tenants.services.accounts import set_email, set_password
from tenants.services.audit import record
from tenants.services.databases import (
    clear_external_database,
    repair_databases,
    set_external_database,
    settle_database,
)
from tenants.services.factors import (
    begin_totp,
    check_code,
    confirm_totp,
    remove_totp,
    renew_recovery_codes,
)
from tenants.services.identities import connect, disconnect
from tenants.services.invitations import accept, invite, join, join_through, revoke_invitation
from tenants.services.keys import OVERLAP, create_api_key, revoke_api_key, rotate_api_key
from tenants.services.people import create_user, delete_user, remove_member, set_member, user_facts
from tenants.services.quotas import (
    QuotaChanges,
    check_count,
    check_until,
    end_override,
    keep_override,
    set_quota,
)
from tenants.services.secrets import create_secret, delete_secret, set_secret
from tenants.services.sessions import end_session, end_sessions
from tenants.services.tenants import create_tenant, rename, resume, suspend

__all__ = [
    "OVERLAP",
    "QuotaChanges",
    "accept",
    "begin_totp",
    "check_code",
    "check_count",
    "check_until",
    "clear_external_database",
    "confirm_totp",
    "connect",
    "create_api_key",
    "create_secret",
    "create_tenant",
    "create_user",
    "delete_secret",
    "delete_user",
    "disconnect",
    "end_override",
    "end_session",
    "end_sessions",
    "invite",
    "join",
    "join_through",
    "keep_override",
    "record",
    "remove_member",
    "remove_totp",
    "rename",
    "renew_recovery_codes",
    "repair_databases",
    "resume",
    "revoke_api_key",
    "revoke_invitation",
    "rotate_api_key",
    "set_email",
    "set_external_database",
    "set_member",
    "set_password",
    "set_quota",
    "set_secret",
    "settle_database",
    "suspend",
    "user_facts",
]
