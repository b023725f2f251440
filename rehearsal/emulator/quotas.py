"""Service Quotas and EC2's instance type offerings, which a preflight checks before it creates a cluster.

Follows GetServiceQuota of the Service Quotas API reference and DescribeInstanceTypeOfferings of the EC2 API reference;
MiniStack has neither. Differs from AWS: there are only four quotas, and eight instance types with two vCPUs each, the
same in every zone.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from rehearsal.emulator.extensions import Call, Caller, Extensions, Json, Proceed, Response, ServiceError
from rehearsal.settings import settings

#: By service and quota code: name and value, as in an account that is not new.
QUOTAS = {
    ("ec2", "L-1216C47A"): ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 32.0),
    ("ec2", "L-0263D0A3"): ("EC2-VPC Elastic IPs", 5.0),
    ("vpc", "L-F678F1CE"): ("VPCs per Region", 5.0),
    ("eks", "L-1194D53C"): ("Clusters", 100.0),
}
#: The instance types on offer; all of them have 2 vCPUs.
TYPES = ("t3.small", "t3.medium", "t3.large", "t3a.medium", "t4g.medium", "m5.large", "m6i.large", "m7g.large")
VCPUS = 2
ZONES = ("a", "b", "c")


def service_quota(action: str, request: Json, caller: Caller) -> Json:
    """Answer GetServiceQuota and ListServiceQuotas."""
    service = str(request.get("ServiceCode", ""))
    if action == "ListServiceQuotas":
        return {"Quotas": [_quota(key, caller) for key in QUOTAS if key[0] == service]}
    key = (service, str(request.get("QuotaCode", "")))
    if action != "GetServiceQuota" or key not in QUOTAS:
        raise ServiceError("NoSuchResourceException", f"the rehearsal does not know the quota {key[1]} of {service}")
    return {"Quota": _quota(key, caller)}


def types(call: Call, proceed: Proceed) -> Response:
    """Correct DescribeInstanceTypes: MiniStack reports eight vCPUs for every type that it does not know."""
    status, headers, body = proceed()
    if call.action == "DescribeInstanceTypes":
        count = f"<defaultVCpus>{VCPUS}</defaultVCpus>".encode()
        body = re.sub(rb"<defaultVCpus>\d+</defaultVCpus>", count, body)
    return status, headers, body


def type_offerings(call: Call, proceed: Proceed) -> Response:
    """Answer DescribeInstanceTypeOfferings with its filters ``instance-type`` and ``location``."""
    if call.action != "DescribeInstanceTypeOfferings":
        return proceed()
    kind = call.form.get("LocationType", "region")
    places = [settings.region] if kind == "region" else [settings.region + zone for zone in ZONES]
    types, locations = _filter(call.form, "instance-type"), _filter(call.form, "location")
    items = "".join(
        f"<item><instanceType>{escape(name)}</instanceType><location>{place}</location>"
        f"<locationType>{escape(kind)}</locationType></item>"
        for name in TYPES
        for place in places
        if name in (types or TYPES) and place in (locations or places)
    )
    tag = "DescribeInstanceTypeOfferingsResponse"
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><{tag} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>rehearsal</requestId><instanceTypeOfferingSet>{items}</instanceTypeOfferingSet></{tag}>"
    )
    return 200, {"Content-Type": "text/xml;charset=UTF-8"}, body.encode()


def register(extensions: Extensions) -> None:
    """Add these services and actions."""
    extensions.add_service("servicequotas", "ServiceQuotasV20190624", service_quota)
    extensions.around("ec2", types)
    extensions.around("ec2", type_offerings)


def _quota(key: tuple[str, str], caller: Caller) -> Json:
    name, value = QUOTAS[key]
    return {
        "ServiceCode": key[0],
        "QuotaCode": key[1],
        "QuotaName": name,
        "QuotaArn": f"arn:aws:servicequotas:{caller.region}:{caller.account}:{key[0]}/{key[1]}",
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _filter(form: dict[str, str], name: str) -> list[str]:
    """Return the values of a filter, given as ``Filter.N.Name`` and ``Filter.N.Value.M``."""
    for key, value in form.items():
        if key.startswith("Filter.") and key.endswith(".Name") and value == name:
            stem = key.removesuffix("Name") + "Value."
            return [form[other] for other in form if other.startswith(stem)]
    return []
