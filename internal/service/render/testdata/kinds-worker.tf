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
  environment = "worker"
  kind        = "worker"
  cluster     = "main"
  capacity_provider_strategy = [
    {
      name   = "ondemand"
      base   = 1
      weight = 1
    },
    {
      name   = "spot"
      weight = 3
    },
  ]
  desired_count = 0
  scaling = {
    min = 0
    max = 10
    targets = [
      {
        metric = "queue"
        target = 25
        queue  = "jobs"
      },
    ]
  }
  containers = [
    {
      name   = "agent"
      cpu    = 128
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
      name      = "logs"
      host_path = "/var/log"
    },
  ]
  placement = {
    strategies = [
      {
        type  = "binpack"
        field = "memory"
      },
    ]
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
    environment = "worker"
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
