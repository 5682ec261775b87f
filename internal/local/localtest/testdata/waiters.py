"""Every waiter of ECS and ELBv2 ends when it should, and fails when it should."""
import http.server
import sys
import threading

from botocore.exceptions import WaiterError

from aws import client, same, verdict, wrong

subnets = sys.argv[1:3]
often = {"Delay": 0.2, "MaxAttempts": 300}
ecs, elb = client("ecs"), client("elbv2")


def wait(c, name, **kw):
    try:
        c.get_waiter(name).wait(WaiterConfig=often, **kw)
    except WaiterError as e:
        wrong.append(f"{name}: {e}")


def fails(c, name, why, attempts=300, **kw):
    try:
        c.get_waiter(name).wait(WaiterConfig={"Delay": 0.2, "MaxAttempts": attempts}, **kw)
    except WaiterError as e:
        if why not in str(e):
            wrong.append(f"{name} fails with: {e}")
    else:
        wrong.append(f"{name} does not fail")


ecs.create_cluster(clusterName="c")
network = {"awsvpcConfiguration": {"subnets": subnets[:1]}}
ecs.register_task_definition(family="web", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512", containerDefinitions=[{"name": "app", "image": "app"}])
task = ecs.run_task(cluster="c", taskDefinition="web", launchType="FARGATE", networkConfiguration=network)["tasks"][0]["taskArn"]
wait(ecs, "tasks_running", cluster="c", tasks=[task])
ecs.stop_task(cluster="c", task=task, reason="enough")
wait(ecs, "tasks_stopped", cluster="c", tasks=[task])
fails(ecs, "tasks_running", "terminal failure", cluster="c", tasks=[task])
fails(ecs, "tasks_running", "MISSING", cluster="c", tasks=["arn:aws:ecs:us-east-1:000000000000:task/c/" + "0" * 32])

ecs.create_service(cluster="c", serviceName="web", taskDefinition="web", desiredCount=2, launchType="FARGATE", networkConfiguration=network)
wait(ecs, "services_stable", cluster="c", services=["web"])
same("running", ecs.describe_services(cluster="c", services=["web"])["services"][0]["runningCount"], 2)
ecs.update_service(cluster="c", service="web", desiredCount=3, forceNewDeployment=True)
wait(ecs, "services_stable", cluster="c", services=["web"])
service = ecs.describe_services(cluster="c", services=["web"])["services"][0]
same("of one deployment", (service["runningCount"], len(service["deployments"])), (3, 1))
fails(ecs, "services_stable", "MISSING", cluster="c", services=["none"])
ecs.register_task_definition(family="big", requiresCompatibilities=["EC2"], containerDefinitions=[{"name": "app", "image": "app", "memory": 64}])
ecs.create_service(cluster="c", serviceName="nowhere", taskDefinition="big", desiredCount=1)  # no instance has room
fails(ecs, "services_stable", "Max attempts", attempts=10, cluster="c", services=["nowhere"])
for s in ("web", "nowhere"):
    ecs.delete_service(cluster="c", service=s, force=True)
wait(ecs, "services_inactive", cluster="c", services=["web", "nowhere"])
fails(ecs, "services_stable", "INACTIVE", cluster="c", services=["web"])


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
lb = elb.create_load_balancer(Name="front", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
wait(elb, "load_balancer_exists", LoadBalancerArns=[lb])
wait(elb, "load_balancer_available", LoadBalancerArns=[lb])
group = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip", HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2)["TargetGroups"][0]["TargetGroupArn"]
elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "20"}])
target = {"Id": "127.0.0.1", "Port": server.server_port}
elb.register_targets(TargetGroupArn=group, Targets=[target])
fails(elb, "target_in_service", "Max attempts", attempts=3, TargetGroupArn=group, Targets=[target])  # no listener uses it
elb.create_listener(LoadBalancerArn=lb, Protocol="HTTP", Port=int(sys.argv[3]), DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
wait(elb, "target_in_service", TargetGroupArn=group, Targets=[target])
elb.deregister_targets(TargetGroupArn=group, Targets=[target])
wait(elb, "target_deregistered", TargetGroupArn=group, Targets=[target])
elb.delete_load_balancer(LoadBalancerArn=lb)
wait(elb, "load_balancers_deleted", LoadBalancerArns=[lb])
server.shutdown()
verdict()
