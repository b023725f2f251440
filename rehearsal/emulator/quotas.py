"""Service Quotas, EC2's instance types and the account's plan, which a preflight checks before it creates a cluster.

Follows GetServiceQuota of the Service Quotas API reference, DescribeInstanceTypeOfferings and DescribeInstanceTypes of
the EC2 API reference, and GetAccountPlanState of the Free Tier API reference; MiniStack has the third without filters,
and none of the others. Differs from AWS: there are only four quotas, and ten instance types with two vCPUs each, the
same in every zone; the plan is PAID unless the file RUN/account-plan says FREE.
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
TYPES = ("t3.small", "t3.medium", "t3.large", "t3a.medium", "t4g.medium", "m5.large", "m6i.large", "m7g.large",
         "c7i-flex.large", "m7i-flex.large")  # fmt: skip
#: Those that an account on the free plan may start (EC2 user guide, "Track your Free Tier usage").
ELIGIBLE = ("c7i-flex.large", "m7i-flex.large", "t3.micro", "t3.small", "t4g.micro", "t4g.small")
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


def account_plan(action: str, _request: Json, caller: Caller) -> Json:
    """Answer GetAccountPlanState."""
    if action != "GetAccountPlanState":
        raise ServiceError("ValidationException", f"the rehearsal does not have {action}")
    return {"accountId": caller.account, "accountPlanType": _plan(), "accountPlanStatus": "ACTIVE"}


def check_launch(types: list[str]) -> None:
    """Check that the account's plan may start instances of these types.

    Raises:
        RuntimeError: it may not; the message is a failed node group's, with EC2's error (EKS API reference, Issue).
    """
    if _plan() == "FREE" and not {*types} <= {*ELIGIBLE}:
        raise RuntimeError(
            "[Issue(Code=AsgInstanceLaunchFailures, Message=Could not launch On-Demand Instances. "
            "InvalidParameterCombination - The specified instance type is not eligible for Free Tier.)]"
        )


def types(call: Call, proceed: Proceed) -> Response:
    """Correct DescribeInstanceTypes, in which MiniStack has its own figures, and add the filter free-tier-eligible."""
    if call.action != "DescribeInstanceTypes":
        return proceed()
    wanted = _filter(call.form, "free-tier-eligible")
    if wanted:
        chosen = [name for name in {*TYPES, *ELIGIBLE} if str(name in ELIGIBLE).lower() in wanted]
        items = "".join(f"<item><instanceType>{name}</instanceType></item>" for name in sorted(chosen))
        return _ec2_answer("DescribeInstanceTypes", f"<instanceTypeSet>{items}</instanceTypeSet>")
    status, headers, body = proceed()
    count = f"<defaultVCpus>{VCPUS}</defaultVCpus>".encode()
    return status, headers, re.sub(rb"<defaultVCpus>\d+</defaultVCpus>", count, body)


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
    return _ec2_answer(call.action, f"<instanceTypeOfferingSet>{items}</instanceTypeOfferingSet>")


def register(extensions: Extensions) -> None:
    """Add these services and actions."""
    extensions.add_service("servicequotas", "ServiceQuotasV20190624", service_quota)
    extensions.add_service("freetier", "AWSFreeTierService", account_plan)
    extensions.around("ec2", types)
    extensions.around("ec2", type_offerings)


def _plan() -> str:
    file = settings.run / "account-plan"
    return file.read_text(encoding="ascii").strip() if file.exists() else "PAID"


def _ec2_answer(action: str, content: str) -> Response:
    """Return an answer as EC2's protocol writes it."""
    tag = f"{action}Response"
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><{tag} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>rehearsal</requestId>{content}</{tag}>"
    )
    return 200, {"Content-Type": "text/xml;charset=UTF-8"}, body.encode()


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
