// Package clusterinfra keeps what services stand on: an ECS cluster with its container instances
// and load balancer (Clusters, behind slipway_cluster) and an image repository (Repositories,
// behind slipway_repository).
//
// What it makes is identified by the tag slipway:cluster=<name>, so every step finds what an
// earlier, killed run made and goes on from there. Ids of things that exist already can be given
// instead; those are used and never changed or deleted.
package clusterinfra
