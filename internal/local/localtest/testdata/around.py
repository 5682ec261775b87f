"""The services around ECS as boto3 uses them: S3, SQS, SNS, EventBridge, Scheduler, Cloud Map."""
import datetime
import io
import json
import sys
import urllib.request

from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from aws import client, eventually, refused, same, verdict

subnet = sys.argv[1]
ARN = "arn:aws:{}:us-east-1:000000000000:{}"

# S3: objects, versions, parts, listing by pages, copies, tags, links.
s3 = client("s3", config=Config(s3={"addressing_style": "path"}))
s3.create_bucket(Bucket="things")
s3.get_waiter("bucket_exists").wait(Bucket="things")
same("a bucket's region", s3.get_bucket_location(Bucket="things")["LocationConstraint"], None)
s3.put_object(Bucket="things", Key="a/1", Body=b"one", Metadata={"who": "me"}, ContentType="text/plain")
got = s3.get_object(Bucket="things", Key="a/1")
same("an object", (got["Body"].read(), got["Metadata"], got["ContentType"]), (b"one", {"who": "me"}, "text/plain"))
same("a part of it", s3.get_object(Bucket="things", Key="a/1", Range="bytes=1-")["Body"].read(), b"ne")
s3.get_waiter("object_exists").wait(Bucket="things", Key="a/1")
s3.copy_object(Bucket="things", Key="b/1", CopySource={"Bucket": "things", "Key": "a/1"})
for n in range(2, 6):
    s3.put_object(Bucket="things", Key=f"a/{n}", Body=b"x")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="things", Prefix="a/", PaginationConfig={"PageSize": 2})
same("pages", [[o["Key"] for o in p["Contents"]] for p in pages], [["a/1", "a/2"], ["a/3", "a/4"], ["a/5"]])
same("folders", [p["Prefix"] for p in s3.list_objects_v2(Bucket="things", Delimiter="/")["CommonPrefixes"]], ["a/", "b/"])
s3.put_bucket_versioning(Bucket="things", VersioningConfiguration={"Status": "Enabled"})
first = s3.put_object(Bucket="things", Key="v", Body=b"1")["VersionId"]
s3.put_object(Bucket="things", Key="v", Body=b"2")
marker = s3.delete_object(Bucket="things", Key="v")
same("a delete marker", marker["DeleteMarker"], True)
refused("NoSuchKey", s3.get_object, Bucket="things", Key="v")
same("an old version", s3.get_object(Bucket="things", Key="v", VersionId=first)["Body"].read(), b"1")
same("versions", len(s3.list_object_versions(Bucket="things", Prefix="v")["Versions"]), 2)
large = bytes(range(256)) * 40000  # ten megabytes: three parts
s3.upload_fileobj(io.BytesIO(large), "things", "large", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
back = io.BytesIO()
s3.download_fileobj("things", "large", back)
same("a large object comes back", back.getvalue() == large, True)
s3.put_object_tagging(Bucket="things", Key="a/1", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
same("tags", s3.get_object_tagging(Bucket="things", Key="a/1")["TagSet"], [{"Key": "k", "Value": "v"}])
link = s3.generate_presigned_url("get_object", Params={"Bucket": "things", "Key": "a/1"})
same("a link", urllib.request.urlopen(link).read(), b"one")
refused("BucketNotEmpty", s3.delete_bucket, Bucket="things")
refused("NoSuchBucket", s3.list_objects_v2, Bucket="nothing")
refused("404", s3.head_object, Bucket="things", Key="none")
errors = s3.delete_objects(Bucket="things", Delete={"Objects": [{"Key": "a/1"}, {"Key": "a/2"}]})
same("deleted", sorted(d["Key"] for d in errors["Deleted"]), ["a/1", "a/2"])

# SQS. An older boto3 speaks the query protocol here, a newer one JSON.
sqs = client("sqs")
dead = sqs.create_queue(QueueName="dead", tags={"team": "a"})["QueueUrl"]
dead_arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
same("a queue's ARN", dead_arn, ARN.format("sqs", "dead"))
work = sqs.create_queue(QueueName="work", Attributes={"VisibilityTimeout": "600", "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})})["QueueUrl"]
same("queues", sorted(sqs.list_queues()["QueueUrls"]), sorted([dead, work]))
same("its URL", sqs.get_queue_url(QueueName="work")["QueueUrl"], work)
same("a source of dead letters", sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"], [work])
same("its tags", sqs.list_queue_tags(QueueUrl=dead)["Tags"], {"team": "a"})
sqs.tag_queue(QueueUrl=dead, Tags={"b": "c"}), sqs.untag_queue(QueueUrl=dead, TagKeys=["team"])
same("its tags", sqs.list_queue_tags(QueueUrl=dead)["Tags"], {"b": "c"})
sqs.set_queue_attributes(QueueUrl=dead, Attributes={"DelaySeconds": "0", "MessageRetentionPeriod": "600"})
sqs.send_message(QueueUrl=work, MessageBody="<one> & ü", MessageAttributes={"n": {"DataType": "Number", "StringValue": "7"}, "b": {"DataType": "Binary", "BinaryValue": b"\0\1"}})
m = eventually("a message", lambda: sqs.receive_message(QueueUrl=work, WaitTimeSeconds=2, MessageAttributeNames=["All"], AttributeNames=["All"]).get("Messages"))[0]
same("its body", m["Body"], "<one> & ü")
same("its attributes", (m["MessageAttributes"]["n"]["StringValue"], m["MessageAttributes"]["b"]["BinaryValue"]), ("7", b"\0\1"))
same("received", m["Attributes"]["ApproximateReceiveCount"], "1")
sqs.change_message_visibility(QueueUrl=work, ReceiptHandle=m["ReceiptHandle"], VisibilityTimeout=0)
eventually("a message that was received too often is dead", lambda: [sqs.receive_message(QueueUrl=work), sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"] == "1"][1])
done = sqs.send_message_batch(QueueUrl=work, Entries=[{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "2"}])
same("sent", sorted(e["Id"] for e in done["Successful"]), ["a", "b"])
got = []
eventually("both", lambda: got.extend(sqs.receive_message(QueueUrl=work, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])) or len(got) == 2)
done = sqs.change_message_visibility_batch(QueueUrl=work, Entries=[{"Id": "x", "ReceiptHandle": got[0]["ReceiptHandle"], "VisibilityTimeout": 60}])
same("changed", [e["Id"] for e in done["Successful"]], ["x"])
done = sqs.delete_message_batch(QueueUrl=work, Entries=[{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(got)] + [{"Id": "bad", "ReceiptHandle": "none"}])
same("deleted", ([e["Id"] for e in done["Successful"]], [e["Id"] for e in done.get("Failed", [])]), (["0", "1"], ["bad"]))
refused("AWS.SimpleQueueService.NonExistentQueue", sqs.get_queue_url, QueueName="none")
refused("AWS.SimpleQueueService.EmptyBatchRequest", sqs.send_message_batch, QueueUrl=work, Entries=[])
sqs.purge_queue(QueueUrl=dead)

# SNS to SQS.
sns = client("sns")
topic = sns.create_topic(Name="news", Tags=[{"Key": "a", "Value": "b"}])["TopicArn"]
inbox = sqs.create_queue(QueueName="inbox")["QueueUrl"]
sub = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=ARN.format("sqs", "inbox"), Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"kind": ["x"]})})["SubscriptionArn"]
sns.publish(TopicArn=topic, Message="no", MessageAttributes={"kind": {"DataType": "String", "StringValue": "y"}})
sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "1", "Message": "yes", "MessageAttributes": {"kind": {"DataType": "String", "StringValue": "x"}}}])


def next_of(queue, what):
    m = eventually(what, lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages"))[0]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=m["ReceiptHandle"])
    return m["Body"]


same("published", next_of(inbox, "what was published"), "yes")
same("topics", [t["TopicArn"] for t in sns.list_topics()["Topics"]], [topic])
same("subscriptions", sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"][0]["Protocol"], "sqs")
same("attributes", sns.get_subscription_attributes(SubscriptionArn=sub)["Attributes"]["RawMessageDelivery"], "true")
same("tags", sns.list_tags_for_resource(ResourceArn=topic)["Tags"], [{"Key": "a", "Value": "b"}])
sns.get_topic_attributes(TopicArn=topic), sns.unsubscribe(SubscriptionArn=sub)
refused("NotFound", sns.publish, TopicArn=topic + "x", Message="m")

# EventBridge to SQS.
events = client("events")
events.put_rule(Name="orders", EventPattern=json.dumps({"source": ["shop"], "detail": {"price": [{"numeric": [">", 10]}]}}))
events.put_targets(Rule="orders", Targets=[{"Id": "q", "Arn": ARN.format("sqs", "inbox"), "InputPath": "$.detail"}])
sent = events.put_events(Entries=[{"Source": "shop", "DetailType": "order", "Detail": json.dumps({"price": p})} for p in (5, 20)] + [{"Source": "aws.ecs", "DetailType": "x", "Detail": "{}"}])
same("not sent", (sent["FailedEntryCount"], sent["Entries"][2]["ErrorCode"]), (1, "NotAuthorizedForSourceException"))
same("the event", json.loads(next_of(inbox, "the event")), {"price": 20})
same("rules", [r["Name"] for r in events.list_rules()["Rules"]], ["orders"])
same("targets", events.list_targets_by_rule(Rule="orders")["Targets"][0]["InputPath"], "$.detail")
same("rules of a target", events.list_rule_names_by_target(TargetArn=ARN.format("sqs", "inbox"))["RuleNames"], ["orders"])
same("matches", events.test_event_pattern(EventPattern='{"source":["a"]}', Event=json.dumps({"id": "1", "account": "0", "source": "a", "time": "2026-01-01T00:00:00Z", "region": "r", "resources": [], "detail-type": "t", "detail": {}}))["Result"], True)
events.describe_rule(Name="orders"), events.describe_event_bus(), events.list_event_buses(), events.disable_rule(Name="orders"), events.enable_rule(Name="orders")
refused("ResourceNotFoundException", events.describe_rule, Name="none")
refused("ValidationException", events.delete_rule, Name="orders")  # it has a target
events.remove_targets(Rule="orders", Ids=["q"]), events.delete_rule(Name="orders")

# Scheduler to SQS.
scheduler = client("scheduler")
target = {"Arn": ARN.format("sqs", "inbox"), "RoleArn": "arn:aws:iam::000000000000:role/scheduler", "Input": "tick"}
off = {"Mode": "OFF"}
scheduler.create_schedule_group(Name="g")
arn = scheduler.create_schedule(Name="s", GroupName="g", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=off, Target=target)["ScheduleArn"]
same("a schedule's ARN", arn, ARN.format("scheduler", "schedule/g/s"))
same("the schedule runs", next_of(inbox, "the schedule runs"), "tick")
same("schedules", [s["Name"] for s in scheduler.list_schedules(GroupName="g")["Schedules"]], ["s"])
scheduler.update_schedule(Name="s", GroupName="g", ScheduleExpression="cron(0 3 * * ? *)", FlexibleTimeWindow=off, Target=target, State="DISABLED")
same("changed", scheduler.get_schedule(Name="s", GroupName="g")["State"], "DISABLED")
scheduler.get_schedule_group(Name="g"), scheduler.list_schedule_groups()
refused("ConflictException", scheduler.create_schedule, Name="s", GroupName="g", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=off, Target=target)
refused("ResourceNotFoundException", scheduler.get_schedule, Name="none")
refused("ValidationException", scheduler.create_schedule, Name="bad", ScheduleExpression="often", FlexibleTimeWindow=off, Target=target)
scheduler.delete_schedule(Name="s", GroupName="g"), scheduler.delete_schedule_group(Name="g")

# Cloud Map. DiscoverInstances has a host name of its own, "data-…", which addresses of this machine have not.
sd = client("servicediscovery", config=Config(inject_host_prefix=False))


def operation(out):
    op = eventually("the operation ends", lambda: [o for o in [sd.get_operation(OperationId=out["OperationId"])["Operation"]] if o["Status"] in ("SUCCESS", "FAIL")])[0]
    same("the operation's end", op["Status"], "SUCCESS")
    return op["Targets"]


ns = operation(sd.create_private_dns_namespace(Name="shop.test", Vpc="vpc-0510ca10000000000"))["NAMESPACE"]
svc = sd.create_service(Name="cart", NamespaceId=ns, DnsConfig={"DnsRecords": [{"Type": "A", "TTL": 5}]})["Service"]
operation(sd.register_instance(ServiceId=svc["Id"], InstanceId="i1", Attributes={"AWS_INSTANCE_IPV4": "10.0.0.9", "color": "blue"}))
operation(sd.register_instance(ServiceId=svc["Id"], InstanceId="i2", Attributes={"AWS_INSTANCE_IPV4": "10.0.0.10"}))
same("found", sorted(i["InstanceId"] for i in sd.discover_instances(NamespaceName="shop.test", ServiceName="cart")["Instances"]), ["i1", "i2"])
same("the blue one", [i["InstanceId"] for i in sd.discover_instances(NamespaceName="shop.test", ServiceName="cart", QueryParameters={"color": "blue"})["Instances"]], ["i1"])
sd.get_namespace(Id=ns), sd.list_namespaces(), sd.get_service(Id=svc["Id"]), sd.list_services(), sd.list_instances(ServiceId=svc["Id"]), sd.get_instance(ServiceId=svc["Id"], InstanceId="i1"), same("operations", len(sd.list_operations(Filters=[{"Name": "TYPE", "Values": ["REGISTER_INSTANCE"]}])["Operations"]), 2)
refused("ResourceInUse", sd.delete_namespace, Id=ns)
refused("NamespaceAlreadyExists", sd.create_private_dns_namespace, Name="shop.test", Vpc="vpc-0510ca10000000000")
for i in ("i1", "i2"):
    operation(sd.deregister_instance(ServiceId=svc["Id"], InstanceId=i))
sd.delete_service(Id=svc["Id"])
operation(sd.delete_namespace(Id=ns))
verdict()
