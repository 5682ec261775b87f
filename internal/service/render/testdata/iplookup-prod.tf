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
  image         = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  release       = "c656597"
  name          = "iplookup"
  team          = "platform"
  environment   = "prod"
  cluster       = "demo"
  launch_type   = "EC2"
  desired_count = 3
  containers = [
    {
      name   = "iplookup"
      cpu    = 64
      memory = 64
      ports = [
        {
          container = 8080
        },
      ]
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
    paths     = ["/*"]
    container = "iplookup"
    port      = 8080
    health = {
      path = "/healthz"
    }
  }
  logs = {
    group = "/slipway/prod/iplookup"
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
    service     = "iplookup"
    team        = "platform"
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
