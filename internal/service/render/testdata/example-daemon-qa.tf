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
  name          = "logagent"
  team          = "platform"
  environment   = "qa"
  kind          = "daemon"
  cluster       = "demo"
  launch_type   = "EC2"
  desired_count = 0
  containers = [
    {
      name           = "logagent"
      cpu            = 32
      memory         = 32
      read_only_root = true
      mounts = [
        {
          volume    = "logs"
          path      = "/host/log"
          read_only = true
        },
      ]
    },
  ]
  volumes = [
    {
      name      = "logs"
      host_path = "/var/log"
    },
  ]
  logs = {
    group     = "/slipway/qa/logagent"
    retention = 7
  }
  deployment = {
    minimum_healthy = 0
    maximum         = 100
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
  ]
  tags = {
    environment = "qa"
    service     = "logagent"
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
