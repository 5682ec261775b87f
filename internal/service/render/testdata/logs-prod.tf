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
  image       = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  release     = "c656597"
  name        = "shop"
  environment = "prod"
  cluster     = "main"
  launch_type = "EC2"
  containers = [
    {
      name   = "shop"
      cpu    = 128
      memory = 256
      ports = [
        {
          container = 8080
        },
      ]
      secrets = {
        DB_PASSWORD = "vault:secret/shop/db#password"
        TOKEN       = "exec:op read shop/token"
      }
    },
  ]
  placement = {
    strategies = [
      {
        type  = "spread"
        field = "attribute:ecs.availability-zone"
      },
      {
        type  = "spread"
        field = "instanceId"
      },
    ]
  }
  route = {
    listener  = "prod"
    paths     = ["/shop/*"]
    container = "shop"
    port      = 8080
  }
  logs = {
    driver = "awsfirelens"
    group  = "/slipway/prod/shop"
    options = {
      Host  = "search.example.com"
      Index = "shop"
      Name  = "es"
      Port  = "9200"
      tls   = "On"
    }
    secrets = {
      HTTP_Passwd = "secretsmanager:shop/search#password"
    }
    router = {
      image  = "public.ecr.aws/aws-observability/aws-for-fluent-bit:stable"
      memory = 96
      env = {
        FLB_LOG_LEVEL = "warn"
      }
    }
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
  tags = {
    environment = "prod"
    service     = "shop"
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
