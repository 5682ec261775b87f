"""Calls operations and checks the raw answers against botocore's models: no member that the model does
not have, and none missing that it requires."""
import json
import sys
import time
import xml.etree.ElementTree as ET

import boto3

image = sys.argv[1]
wrong = []


def check_json(op, path, shape, value):
    if value is None:
        return
    if shape.type_name == "structure":
        for k, v in value.items():
            if k not in shape.members:
                wrong.append(f"{op}: {path}.{k} is not in the model")
            else:
                check_json(op, f"{path}.{k}", shape.members[k], v)
        for k in shape.required_members:
            if k not in value:
                wrong.append(f"{op}: {path}.{k} is required")
    elif shape.type_name == "list":
        for v in value:
            check_json(op, path + "[]", shape.member, v)
    elif shape.type_name == "map":
        for v in value.values():
            check_json(op, path + "{}", shape.value, v)


def local(tag):
    return tag.rsplit("}", 1)[-1]


def check_xml(op, path, shape, node):
    if shape.type_name == "structure":
        names = {}
        for name, member in shape.members.items():
            s = member.serialization
            if member.type_name == "list" and s.get("flattened") or member.type_name == "list" and member.serialization.get("flattened"):
                names[member.member.serialization.get("name", s.get("name", name))] = member
            names[s.get("name", name)] = member
        for child in node:
            tag = local(child.tag)
            if tag in ("ResponseMetadata", "requestId"):
                continue
            if tag not in names:
                wrong.append(f"{op}: {path}.{tag} is not in the model")
            else:
                check_xml(op, f"{path}.{tag}", names[tag], child)
    elif shape.type_name == "list" and not shape.serialization.get("flattened"):
        item = shape.member.serialization.get("name", "member")
        for child in node:
            if local(child.tag) != item:
                wrong.append(f"{op}: {path} has an item {local(child.tag)}, not {item}")
            else:
                check_xml(op, path + "[]", shape.member, child)


def client(name):
    c = boto3.client(name)

    def check(http_response, parsed, model, **_):
        if http_response.status_code >= 300 or model.output_shape is None:
            return
        op = f"{name} {model.name}"
        body = http_response.content
        protocol = model.metadata.get("protocol")
        if protocol == "json":
            check_json(op, "", model.output_shape, json.loads(body or b"{}"))
        elif protocol in ("query", "ec2"):
            root = ET.fromstring(body)
            wrapper = model.output_shape.serialization.get("resultWrapper")
            if wrapper:
                root = next((n for n in root if local(n.tag) == wrapper), root)
            check_xml(op, "", model.output_shape, root)

    c.meta.events.register("after-call", check)
    return c


ec2, asg, ecs = client("ec2"), client("autoscaling"), client("ecs")
ec2.describe_vpcs(), ec2.describe_subnets(), ec2.describe_availability_zones(), ec2.describe_images(Owners=["amazon"])
ec2.describe_security_groups(), ec2.describe_route_tables(), ec2.describe_internet_gateways()
ec2.describe_instance_types(InstanceTypes=["m5.large"])
ec2.create_launch_template(LaunchTemplateName="host", LaunchTemplateData={"ImageId": image, "InstanceType": "m5.large", "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}]})
ec2.describe_launch_templates(), ec2.describe_launch_template_versions(LaunchTemplateName="host")
asg.create_auto_scaling_group(AutoScalingGroupName="g", MinSize=1, MaxSize=2, AvailabilityZones=["us-east-1a"], LaunchTemplate={"LaunchTemplateName": "host", "Version": "$Latest"})
for _ in range(200):
    g = asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    if g["Instances"] and g["Instances"][0]["LifecycleState"] == "InService":
        break
    time.sleep(0.05)
else:
    wrong.append("the group has no instance")
asg.describe_auto_scaling_instances(), asg.describe_scaling_activities(), asg.describe_tags(), asg.describe_account_limits(), asg.describe_scaling_process_types()
asg.put_lifecycle_hook(AutoScalingGroupName="g", LifecycleHookName="h", LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING")
asg.describe_lifecycle_hooks(AutoScalingGroupName="g")
ec2.describe_instances(), ec2.describe_instance_status()

ssm, sec, logs, iam, sts, cw = (client(n) for n in ("ssm", "secretsmanager", "logs", "iam", "sts", "cloudwatch"))
ssm.put_parameter(Name="/p", Type="String", Value="v")
ssm.get_parameter(Name="/p"), ssm.describe_parameters(), ssm.get_parameter_history(Name="/p"), ssm.get_parameters_by_path(Path="/")
sec.create_secret(Name="s", SecretString="x")
sec.get_secret_value(SecretId="s"), sec.describe_secret(SecretId="s"), sec.list_secrets(), sec.list_secret_version_ids(SecretId="s"), sec.get_random_password()
logs.create_log_group(logGroupName="g"), logs.create_log_stream(logGroupName="g", logStreamName="s")
logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": int(time.time() * 1000), "message": "m"}])
logs.get_log_events(logGroupName="g", logStreamName="s"), logs.filter_log_events(logGroupName="g"), logs.describe_log_groups(), logs.describe_log_streams(logGroupName="g")
trust = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust), iam.get_role(RoleName="r"), iam.list_roles()
if iam.get_role(RoleName="r")["Role"]["AssumeRolePolicyDocument"]["Version"] != "2012-10-17":
    wrong.append("the trust policy does not come back")
iam.create_instance_profile(InstanceProfileName="p"), iam.add_role_to_instance_profile(InstanceProfileName="p", RoleName="r"), iam.get_instance_profile(InstanceProfileName="p")
sts.get_caller_identity(), sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/r", RoleSessionName="ci")
cw.put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 1}])
cw.list_metrics(), cw.put_metric_alarm(AlarmName="a", Namespace="N", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold"), cw.describe_alarms(), cw.describe_alarm_history()
aas = client("application-autoscaling")
aas.describe_scalable_targets(ServiceNamespace="ecs"), aas.describe_scaling_policies(ServiceNamespace="ecs"), aas.describe_scaling_activities(ServiceNamespace="ecs")

for c in (asg,):
    for waiter in c.waiter_names:
        c.get_waiter(waiter).wait(AutoScalingGroupNames=["g"]) if waiter != "group_not_exists" else None
print("\n".join(wrong) or "ok")
