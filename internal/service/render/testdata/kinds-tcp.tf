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
  environment = "tcp"
  cluster     = "main"
  launch_type = "EC2"
  containers = [
    {
      name   = "agent"
      cpu    = 128
      memory = 64
      ports = [
        {
          container = 5432
        },
      ]
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
      name      = "logs"
      host_path = "/var/log"
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
    listener  = "arn:aws:elasticloadbalancing:us-east-1:000000000000:listener/net/a/1/2"
    protocol  = "TCP"
    container = "agent"
    port      = 5432
    health = {
      path    = ""
      matcher = ""
    }
  }
  logs = {
    driver    = "json-file"
    retention = 0
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
    environment = "tcp"
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
