"""Calls one operation a protocol with boto3 and checks what comes back."""
import datetime
import sys

import boto3
from botocore.exceptions import ClientError

url = sys.argv[1]


def client(name):
    return boto3.client(name, endpoint_url=url)


def refused(code, call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
        assert e.response["ResponseMetadata"]["RequestId"], e.response
        return e
    raise AssertionError("not refused: " + code)


ecs = client("ecs")
assert ecs.describe_clusters(clusters=["a"])["clusters"] == [{"clusterName": "a", "tags": []}]
refused("ClusterNotFoundException", ecs.describe_clusters)
assert isinstance(refused("ClusterNotFoundException", ecs.describe_clusters, clusters=[]), ecs.exceptions.ClusterNotFoundException)
refused("UnknownOperationException", ecs.list_clusters)

elb = client("elbv2")
got = elb.describe_target_health(TargetGroupArn="t", Targets=[{"Id": "i-1"}, {"Id": "i-2", "Port": 80}])
assert got["TargetHealthDescriptions"] == [{"Target": {"Id": "i-2", "Port": 80}}], got
refused("TargetGroupNotFound", elb.describe_target_health, TargetGroupArn="t")
refused("InvalidAction", elb.describe_listeners)

ec2 = client("ec2")
got = ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": ["subnet-1"]}])
assert got["Subnets"] == [{"SubnetId": "subnet-1", "DefaultForAz": True, "Tags": [{"Key": "k", "Value": "v"}]}], got

cw = client("cloudwatch")
at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
got = cw.get_metric_statistics(Namespace="n", MetricName="m", StartTime=at, EndTime=at, Period=60, Statistics=["Sum"])
assert got["Datapoints"] == [{"Timestamp": at, "Sum": 4.5}], got
refused("InvalidParameterValue", cw.get_metric_statistics, Namespace="n", MetricName="none", StartTime=at, EndTime=at, Period=60)

sqs = client("sqs")
assert sqs.get_queue_url(QueueName="q")["QueueUrl"] == "q"
assert isinstance(refused("AWS.SimpleQueueService.NonExistentQueue", sqs.get_queue_url, QueueName="none"), sqs.exceptions.QueueDoesNotExist)

assert client("sns").get_topic_attributes(TopicArn="t")["Attributes"] == {"TopicArn": "t"}
refused("NoSuchEntity", client("iam").get_role, RoleName="r")
assert client("sts").get_caller_identity()["Account"] == "000000000000"
refused("UnknownOperationException", client("scheduler").list_schedules)
print("ok")
