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
  name        = "agent"
  environment = "job"
  kind        = "job"
  cluster     = "main"
  capacity_provider_strategy = [
    {
      name   = "FARGATE_SPOT"
      weight = 1
    },
  ]
  network_mode  = "awsvpc"
  cpu           = 256
  memory        = 512
  desired_count = 0
  containers = [
    {
      name   = "agent"
      memory = 64
      mounts = [
        {
          volume    = "logs"
          path      = "/var/log"
          read_only = true
        },
      ]
    },
  ]
  volumes = [
    {
      name = "logs"
      efs = {
        file_system = "fs-1"
      }
    },
  ]
  logs = {
    group = "/slipway/job/agent"
  }
  schedule = "rate(5 minutes)"
  tags = {
    environment = "job"
    service     = "agent"
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
