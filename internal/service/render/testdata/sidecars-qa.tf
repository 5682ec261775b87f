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
  environment  = "qa"
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
      image   = "public.ecr.aws/hashicorp/consul:1.20"
      command = ["agent", "-bind={{ GetPrivateIP }}", "-client=127.0.0.1", "-retry-join=consul.internal", "-hcl=leave_on_terminate = true", "-hcl=service {\n  name = \"shop\"\n  port = 8080\n  tags = []\n  check {\n    http = \"http://127.0.0.1:8080/healthz\"\n    interval = \"10s\"\n    timeout = \"5s\"\n    deregister_critical_service_after = \"10m\"\n  }\n}"]
      cpu     = 64
      memory  = 128
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
        AOT_CONFIG_CONTENT = "receivers:\n  prometheus:\n    config:\n      scrape_configs:\n      - job_name: shop\n        scrape_interval: 1m\n        metrics_path: /metrics\n        static_configs:\n        - targets:\n          - 127.0.0.1:9090\n          labels:\n            service: shop\n            environment: qa\nprocessors:\n  batch:\n    timeout: 10s\nexporters:\n  awsemf:\n    namespace: Slipway/shop\n    log_group_name: /slipway/qa/shop/metrics\n    dimension_rollup_option: NoDimensionRollup\n    resource_to_telemetry_conversion:\n      enabled: true\nservice:\n  pipelines:\n    metrics:\n      receivers:\n      - prometheus\n      processors:\n      - batch\n      exporters:\n      - awsemf\n"
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
    group = "/slipway/qa/shop"
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
        actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        resources = ["arn:*:logs:*:*:log-group:/slipway/qa/shop/metrics", "arn:*:logs:*:*:log-group:/slipway/qa/shop/metrics:*"]
      },
      {
        actions   = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
        resources = ["*"]
      },
    ]
  }
  enable_execute_command = true
  tags = {
    environment = "qa"
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
