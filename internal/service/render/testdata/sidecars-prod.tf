# Written by slipway from slipway.yaml, anew at every plan: change that file, not this one.

terraform {
  required_providers {
    slipway = {
      source = "slipway/slipway"
    }
  }

  backend "local" {
  }
}

provider "slipway" {
}

resource "slipway_service" "this" {
  image        = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  release      = "c656597"
  name         = "shop"
  team         = "web"
  environment  = "prod"
  cluster      = "main"
  launch_type  = "FARGATE"
  network_mode = "awsvpc"
  cpu          = 256
  memory       = 512
  containers = [
    {
      name = "shop"
      ports = [
        {
          container = 8080
          host      = 8080
        },
        {
          container = 9090
          host      = 9090
          name      = "metrics"
        },
      ]
    },
    {
      name    = "consul-agent"
      image   = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/consul:1.20.2"
      command = ["agent", "-bind={{ GetPrivateIP }}", "-client=127.0.0.1", "-datacenter=eu1", "-retry-join=provider=aws tag_key=consul tag_value=server", "-retry-join=10.0.0.5", "-hcl=leave_on_terminate = true", "-hcl=service {\n  name = \"shop-web\"\n  port = 8080\n  tags = [\"v1\", \"odd \\\"$$${tag}\\\"\"]\n  check {\n    http = \"http://127.0.0.1:8080/healthz\"\n    interval = \"10s\"\n    timeout = \"5s\"\n    deregister_critical_service_after = \"10m\"\n  }\n}"]
      cpu     = 64
      memory  = 128
      secrets = {
        CONSUL_LOCAL_CONFIG = "secretsmanager:consul/agent"
      }
      depends_on = [
        {
          container = "shop"
          condition = "START"
        },
      ]
    },
    {
      name      = "metrics-collector"
      image     = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.1"
      essential = false
      cpu       = 64
      memory    = 256
      env = {
        AOT_CONFIG_CONTENT = "receivers:\n  prometheus:\n    config:\n      scrape_configs:\n      - job_name: shop\n        scrape_interval: 15s\n        metrics_path: /prom\n        static_configs:\n        - targets:\n          - 127.0.0.1:9090\n          labels:\n            service: shop\n            environment: prod\nprocessors:\n  batch:\n    timeout: 10s\nextensions:\n  sigv4auth:\n    region: eu-west-1\n    service: aps\nexporters:\n  prometheusremotewrite:\n    endpoint: https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-123/api/v1/remote_write\n    resource_to_telemetry_conversion:\n      enabled: true\n    auth:\n      authenticator: sigv4auth\nservice:\n  extensions:\n  - sigv4auth\n  pipelines:\n    metrics:\n      receivers:\n      - prometheus\n      processors:\n      - batch\n      exporters:\n      - prometheusremotewrite\n"
      }
      depends_on = [
        {
          container = "shop"
          condition = "START"
        },
      ]
    },
  ]
  route = {
    listener  = "web"
    paths     = ["/*"]
    container = "shop"
    port      = 8080
    health = {
      path = "/healthz"
    }
  }
  logs = {
    group = "/slipway/prod/shop"
  }
  alarms = [
    {
      name      = "default-cpu"
      metric    = "cpu"
      threshold = 90
      periods   = 5
    },
    {
      name      = "default-memory"
      metric    = "memory"
      threshold = 90
      periods   = 5
    },
    {
      name      = "default-churn"
      metric    = "task-churn"
      threshold = 3
      periods   = 1
      period    = 300
    },
    {
      name      = "default-errors"
      metric    = "5xx-percent"
      threshold = 5
      periods   = 5
    },
    {
      name      = "default-latency"
      metric    = "latency-p95"
      threshold = 1
      periods   = 5
    },
    {
      name      = "default-unhealthy"
      metric    = "unhealthy"
      threshold = 0
      periods   = 5
    },
  ]
  task_role = {
    statements = [
      {
        actions   = ["aps:RemoteWrite"]
        resources = ["arn:*:aps:eu-west-1:*:workspace/ws-123"]
      },
      {
        actions   = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
        resources = ["*"]
      },
    ]
  }
  enable_execute_command = true
  tags = {
    environment = "prod"
    service     = "shop"
    team        = "web"
  }
}

output "url" {
  value = slipway_service.this.url
}

output "revision" {
  value = slipway_service.this.revision
}

output "task_definition_arn" {
  value = slipway_service.this.task_definition_arn
}
