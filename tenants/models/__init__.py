"""Who owns what: tenants, their limits, people, keys, and the audit log."""

from tenants.models.audit import AuditEntry
from tenants.models.database import TenantDatabase
from tenants.models.factors import Identity, RecoveryCode, Totp
from tenants.models.invitation import Invitation
from tenants.models.key import ApiKey
from tenants.models.people import Membership, Role
from tenants.models.quota import Quota, QuotaChange, QuotaOverride
from tenants.models.secret import SECRET_PATTERN, Secret, SecretVersion
from tenants.models.session import Session
from tenants.models.tenant import SLUG_PATTERN, Tenant

__all__ = [
    "SECRET_PATTERN",
    "SLUG_PATTERN",
    "ApiKey",
    "AuditEntry",
    "Identity",
    "Invitation",
    "Membership",
    "Quota",
    "QuotaChange",
    "QuotaOverride",
    "RecoveryCode",
    "Role",
    "Secret",
    "SecretVersion",
    "Session",
    "Tenant",
    "TenantDatabase",
    "Totp",
]
