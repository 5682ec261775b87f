"""Calls operations of the services that an ECS team touches, whose answers are held against the models."""
import json
import sys
import time

from aws import client, verdict, wrong

image = sys.argv[1]

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
cw.put_composite_alarm(AlarmName="b", AlarmRule="ALARM(a) OR OK(a)", ActionsSuppressor="a", ActionsSuppressorWaitPeriod=10, ActionsSuppressorExtensionPeriod=10)
cw.describe_alarms(AlarmTypes=["CompositeAlarm", "MetricAlarm"]), cw.describe_alarms(ChildrenOfAlarmName="b"), cw.describe_alarms(ParentsOfAlarmName="a"), cw.describe_alarm_history(AlarmName="b")
past = [{"MetricName": "load", "Value": 100, "Timestamp": time.time() // 3600 * 3600 - 3600 * h} for h in range(1, 49)]
cw.put_metric_data(Namespace="N", MetricData=past)
metric = {"Metric": {"Namespace": "N", "MetricName": "load"}, "Stat": "Sum"}
cw.get_metric_data(StartTime=time.time() - 86400, EndTime=time.time(), MetricDataQueries=[{"Id": "m", "MetricStat": {**metric, "Period": 60}}, {"Id": "e", "Expression": "RATE(FILL(m, 0))"}])
spec = {"TargetValue": 10, "CustomizedLoadMetricSpecification": {"MetricDataQueries": [{"Id": "l", "MetricStat": metric}]}, "CustomizedScalingMetricSpecification": {"MetricDataQueries": [{"Id": "s", "MetricStat": metric}]}}
asg.put_scaling_policy(AutoScalingGroupName="g", PolicyName="p", PolicyType="PredictiveScaling", PredictiveScalingConfiguration={"MetricSpecifications": [spec]})
asg.get_predictive_scaling_forecast(AutoScalingGroupName="g", PolicyName="p", StartTime=time.time() - 7200, EndTime=time.time() + 7200), asg.describe_policies()
asg.put_warm_pool(AutoScalingGroupName="g", MinSize=1), asg.describe_warm_pool(AutoScalingGroupName="g"), asg.describe_auto_scaling_groups(), asg.delete_warm_pool(AutoScalingGroupName="g", ForceDelete=True)
image = ec2.describe_images()["Images"][0]["ImageId"]
asg.create_launch_configuration(LaunchConfigurationName="l", ImageId=image, InstanceType="m5.large"), asg.describe_launch_configurations(), asg.delete_launch_configuration(LaunchConfigurationName="l")
aas = client("application-autoscaling")
aas.describe_scalable_targets(ServiceNamespace="ecs"), aas.describe_scaling_policies(ServiceNamespace="ecs"), aas.describe_scaling_activities(ServiceNamespace="ecs")

for c in (asg,):
    for waiter in c.waiter_names:
        c.get_waiter(waiter).wait(AutoScalingGroupNames=["g"]) if waiter != "group_not_exists" else None
verdict()
