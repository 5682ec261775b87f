# Written by slipway from slipway.yaml, anew at every plan: change that file, not this one.

terraform {
  required_providers {
    slipway = {
      source = "slipway/slipway"
    }
  }

  backend "s3" {
    bucket       = "acme-terraform"
    key          = "slipway/shop/prod.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "slipway" {
  region = "eu-west-1"
}

resource "slipway_service" "this" {
  image           = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  release         = "c656597"
  name            = "shop"
  team            = "commerce"
  environment     = "prod"
  cluster         = "main"
  launch_type     = "FARGATE"
  architecture    = "ARM64"
  network_mode    = "awsvpc"
  cpu             = 512
  memory          = 2048
  subnets         = ["subnet-1", "subnet-2"]
  security_groups = ["sg-1"]
  desired_count   = 2
  scaling = {
    min = 2
    max = 20
    targets = [
      {
        metric = "cpu"
        target = 60
      },
      {
        metric             = "requests"
        target             = 1000
        scale_out_cooldown = 30
      },
      {
        metric = "queue"
        target = 10
        queue  = "orders"
      },
      {
        metric    = "Carts"
        target    = 50
        namespace = "Shop"
      },
    ]
    schedules = [
      {
        name       = "morning"
        expression = "cron(0 7 ? * MON-FRI *)"
        timezone   = "Europe/Berlin"
        min        = 5
        max        = 20
      },
    ]
  }
  containers = [
    {
      name    = "web"
      command = ["serve", "--verbose"]
      cpu     = 512
      memory  = 1024
      ports = [
        {
          container = 8443
          host      = 8443
        },
        {
          container = 9200
          host      = 9200
          protocol  = "udp"
          name      = "events"
        },
        {
          container = 9100
          host      = 9100
          name      = "metrics"
        },
      ]
      env = {
        DEBUG     = "false"
        LOG_LEVEL = "info"
        WORKERS   = "4"
      }
      env_files = ["arn:aws:s3:::acme-config/shop.env"]
      secrets = {
        API_KEY     = "secretsmanager:shop/api"
        DB_PASSWORD = "ssm:/shop/db"
      }
      user           = "10001:10001"
      read_only_root = true
      init           = true
      stop_timeout   = 60
      health_check = {
        command      = ["CMD", "/shop", "check"]
        start_period = 20
      }
      depends_on = [
        {
          container = "proxy"
          condition = "HEALTHY"
        },
        {
          container = "setup"
          condition = "SUCCESS"
        },
      ]
      mounts = [
        {
          volume = "data"
          path   = "/data"
        },
        {
          volume    = "uploads"
          path      = "/uploads"
          read_only = true
        },
      ]
      ulimits = [
        {
          name = "nofile"
          soft = 65536
          hard = 65536
        },
        {
          name = "nproc"
          soft = 100
          hard = 200
        },
      ]
    },
    {
      name   = "proxy"
      image  = "public.ecr.aws/acme/proxy:1"
      memory = 128
      env = {
        DEBUG     = "false"
        LOG_LEVEL = "info"
        WORKERS   = "4"
      }
      health_check = {
        command = ["CMD-SHELL", "curl -f localhost:9901/ready"]
      }
    },
    {
      name      = "setup"
      image     = "public.ecr.aws/acme/setup:1"
      essential = false
      env = {
        DEBUG     = "false"
        LOG_LEVEL = "debug"
        WORKERS   = "4"
      }
    },
  ]
  volumes = [
    {
      name = "data"
      efs = {
        file_system  = "fs-1"
        access_point = "fsap-1"
      }
    },
    {
      name = "uploads"
      ebs = {
        size_gib = 20
      }
    },
  ]
  route = {
    listener = "prod"
    protocol = "HTTPS"
    hosts    = ["shop.example.com"]
    paths    = ["/cart/*", "/pay"]
    headers = {
      X-Version = ["2"]
    }
    methods   = ["GET"]
    container = "web"
    port      = 8443
    health = {
      path      = "/ready"
      matcher   = "200-299"
      interval  = 15
      timeout   = 4
      healthy   = 3
      unhealthy = 3
    }
    sticky               = 3600
    deregistration_delay = 120
    slow_start           = 30
    grace_period         = 45
  }
  discovery = {
    kind      = "cloudmap"
    namespace = "acme.local"
    name      = "shop"
    record    = "A"
  }
  logs = {
    group     = "/acme/shop"
    retention = 90
  }
  deployment = {
    strategy           = "CANARY"
    bake_time          = 1800
    step_percent       = 5
    step_bake          = 600
    rollback_on_alarms = ["errors"]
    timeout            = 7200
    before = [
      {
        name    = "step-1"
        command = ["/shop", "migrate"]
      },
    ]
    after = [
      {
        name    = "warm"
        command = ["/bin/sh", "-c", "/shop warm"]
        timeout = 60
      },
    ]
    smoke = {
      path     = "/ready"
      contains = "ok"
    }
  }
  alarms = [
    {
      name      = "errors"
      metric    = "5xx-percent"
      threshold = 1
      notify    = ["arn:aws:sns:eu-west-1:111122223333:oncall"]
    },
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
        actions   = ["s3:GetObject"]
        resources = ["arn:aws:s3:::acme-shop/*"]
      },
    ]
  }
  tags = {
    cost_center = "4711"
    environment = "prod"
    service     = "shop"
    team        = "commerce"
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
