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
  name        = "colours"
  team        = "platform"
  environment = "qa"
  cluster     = "demo"
  launch_type = "EC2"
  containers = [
    {
      name   = "colours"
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
    listener  = "qa"
    paths     = ["/*"]
    container = "colours"
    port      = 8080
    health = {
      path     = "/healthz"
      interval = 5
      timeout  = 2
    }
    deregistration_delay = 5
  }
  logs = {
    group = "/slipway/qa/colours"
  }
  deployment = {
    strategy  = "BLUE_GREEN"
    bake_time = 60
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
    environment = "qa"
    service     = "colours"
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
