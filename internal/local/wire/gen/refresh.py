#!/usr/bin/env python3
"""Write ../model/<service>.json from the AWS service models that botocore carries.

Kept: operations, shapes they reach, constraints and error codes. Dropped: documentation and
everything a server has no use for. For EC2 only the operations named below keep their shapes, for S3
none does: its bodies are read and written by a library.
Run it by hand when the models are to be newer (`python3 refresh.py`), then `go generate ./..`.
"""
import glob
import gzip
import json
import os

import botocore

SERVICES = [
    "ecs", "ecr", "elbv2", "logs", "ssm", "secretsmanager", "sts", "iam", "ec2", "autoscaling",
    "application-autoscaling", "cloudwatch", "events", "sns", "sqs", "servicediscovery", "scheduler", "s3", "service-quotas",
]

EC2 = """
CreateVpc DeleteVpc DescribeVpcs ModifyVpcAttribute DescribeVpcAttribute CreateDefaultVpc
CreateSubnet DeleteSubnet DescribeSubnets ModifySubnetAttribute CreateDefaultSubnet
CreateSecurityGroup DeleteSecurityGroup DescribeSecurityGroups DescribeSecurityGroupRules
AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress RevokeSecurityGroupIngress RevokeSecurityGroupEgress
ModifySecurityGroupRules UpdateSecurityGroupRuleDescriptionsIngress UpdateSecurityGroupRuleDescriptionsEgress
CreateRouteTable DeleteRouteTable DescribeRouteTables CreateRoute DeleteRoute ReplaceRoute
AssociateRouteTable DisassociateRouteTable ReplaceRouteTableAssociation
CreateInternetGateway DeleteInternetGateway DescribeInternetGateways AttachInternetGateway DetachInternetGateway
DescribeEgressOnlyInternetGateways CreateNatGateway DeleteNatGateway DescribeNatGateways
CreateVpcEndpoint DeleteVpcEndpoints DescribeVpcEndpoints ModifyVpcEndpoint DescribeVpcEndpointServices DescribePrefixLists
DescribeManagedPrefixLists GetManagedPrefixListEntries
DescribeNetworkAcls DescribeDhcpOptions DescribeVpcPeeringConnections DescribeVpnGateways DescribeFlowLogs
AllocateAddress ReleaseAddress AssociateAddress DisassociateAddress DescribeAddresses DescribeAddressesAttribute
DescribeAvailabilityZones DescribeRegions DescribeAccountAttributes
RunInstances StartInstances StopInstances RebootInstances TerminateInstances DescribeInstances DescribeInstanceStatus
DescribeInstanceAttribute ModifyInstanceAttribute ModifyInstanceMetadataOptions MonitorInstances UnmonitorInstances
DescribeInstanceCreditSpecifications GetConsoleOutput GetInstanceTypesFromInstanceRequirements
DescribeInstanceTypes DescribeInstanceTypeOfferings
CreateLaunchTemplate CreateLaunchTemplateVersion ModifyLaunchTemplate DeleteLaunchTemplate DeleteLaunchTemplateVersions
DescribeLaunchTemplates DescribeLaunchTemplateVersions GetLaunchTemplateData
DescribeImages DescribeImageAttribute RegisterImage DeregisterImage
CreateVolume DeleteVolume DescribeVolumes DescribeVolumeStatus DescribeVolumeAttribute DescribeVolumesModifications
ModifyVolume AttachVolume DetachVolume
DescribeSnapshots
CreateTags DeleteTags DescribeTags
CreateNetworkInterface DeleteNetworkInterface DescribeNetworkInterfaces DescribeNetworkInterfaceAttribute
ModifyNetworkInterfaceAttribute AttachNetworkInterface DetachNetworkInterface AssignPrivateIpAddresses UnassignPrivateIpAddresses
RequestSpotInstances CancelSpotInstanceRequests DescribeSpotInstanceRequests DescribeSpotPriceHistory GetSpotPlacementScores
CreateFleet DeleteFleets DescribeFleets DescribeFleetInstances ModifyFleet
CreateKeyPair ImportKeyPair DeleteKeyPair DescribeKeyPairs
CreatePlacementGroup DeletePlacementGroup DescribePlacementGroups
DescribeIamInstanceProfileAssociations AssociateIamInstanceProfile DisassociateIamInstanceProfile
DescribeCapacityReservations DescribeHosts DescribeReservedInstances
""".split()

SHAPE = ["type", "required", "enum", "min", "max", "pattern", "flattened", "exception", "error", "fault",
         "locationName", "timestampFormat", "document", "eventstream", "xmlNamespace"]
MEMBER = ["shape", "locationName", "queryName", "flattened", "idempotencyToken", "timestampFormat",
          "location", "xmlNamespace", "deprecated"]
META = ["apiVersion", "endpointPrefix", "signingName", "protocol", "protocols", "jsonVersion", "targetPrefix",
        "serviceId", "xmlNamespace", "awsQueryCompatible"]


def pick(d, keys):
    return {k: d[k] for k in keys if k in d}


def trim(service):
    paths = sorted(glob.glob(os.path.join(os.path.dirname(botocore.__file__), "data", service, "*", "service-2.json.gz")))
    with gzip.open(paths[-1]) as f:
        m = json.load(f)
    full = {"ec2": set(EC2), "s3": set()}.get(service, set(m["operations"]))
    ops, todo = {}, []
    for name, op in sorted(m["operations"].items()):
        o = {}
        if m["metadata"]["protocol"] == "rest-json":
            o["http"] = pick(op["http"], ["method", "requestUri"])
        if m["metadata"]["protocol"] == "rest-xml":
            o["http"] = pick(op["http"], ["method", "requestUri"])
            o["deprecated"] = op.get("deprecated", False)
            shape = m["shapes"].get(op.get("input", {}).get("shape"), {})
            for where in ("querystring", "header"):  # what tells this operation from another one of the same path
                must = [shape["members"][k] for k in shape.get("required", [])]
                o["http"][where] = sorted(x["locationName"] for x in must if x.get("location") == where)
        if name in full:
            for side in ("input", "output"):
                if side in op:
                    o[side] = pick(op[side], ["shape", "resultWrapper", "locationName"])
                    todo.append(op[side]["shape"])
            todo += [e["shape"] for e in op.get("errors", [])]
            if op.get("errors"):
                o["errors"] = [e["shape"] for e in op["errors"]]
        ops[name] = o
    shapes = {}
    while todo:
        name = todo.pop()
        if name in shapes:
            continue
        s = m["shapes"][name]
        t = pick(s, SHAPE)
        if service == "ec2":
            t.pop("enum", None)
        if "members" in s:
            t["members"] = {k: pick(v, MEMBER) for k, v in s["members"].items()}
            todo += [v["shape"] for v in t["members"].values()]
        for k in ("member", "key", "value"):
            if k in s:
                t[k] = pick(s[k], MEMBER)
                todo.append(t[k]["shape"])
        shapes[name] = t
    missing = full - set(m["operations"])
    if missing:
        raise SystemExit(f"{service}: no such operations: {sorted(missing)}")
    return {"source": "botocore " + botocore.__version__, "metadata": pick(m["metadata"], META), "operations": ops, "shapes": shapes}


def write(path, model):
    """One operation and one shape a line, sorted, so that a refresh reads as a diff."""
    line = lambda v: json.dumps(v, separators=(",", ":"))
    with open(path, "w") as f:
        f.write("{\n")
        f.write(f'"source":{line(model["source"])},\n"metadata":{line(model["metadata"])},\n')
        for part in ("operations", "shapes"):
            rows = [f"{line(k)}:{line(v)}" for k, v in sorted(model[part].items())]
            f.write(f'"{part}":{{\n' + ",\n".join(rows) + "\n}" + (",\n" if part == "operations" else "\n"))
        f.write("}\n")


if __name__ == "__main__":
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model")
    os.makedirs(out, exist_ok=True)
    for service in SERVICES:
        write(os.path.join(out, service + ".json"), trim(service))
