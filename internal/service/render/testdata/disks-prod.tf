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
  name        = "index"
  team        = "search"
  environment = "prod"
  cluster     = "main"
  launch_type = "EC2"
  containers = [
    {
      name   = "index"
      cpu    = 128
      memory = 512
      ports = [
        {
          container = 9200
        },
      ]
      mounts = [
        {
          volume = "data"
          path   = "/var/lib/index"
        },
      ]
    },
  ]
  volumes = [
    {
      name = "data"
      ebs = {
        size_gib    = 500
        type        = "io2"
        iops        = 10000
        file_system = "ext4"
        kms_key     = "arn:aws:kms:eu-west-1:111122223333:key/1234"
        snapshot    = "snap-0abc"
        role        = "arn:aws:iam::111122223333:role/disks"
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
    listener  = "web"
    paths     = ["/*"]
    container = "index"
    port      = 9200
  }
  logs = {
    group = "/slipway/prod/index"
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
    service     = "index"
    team        = "search"
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
