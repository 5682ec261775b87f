// Package deploy brings one ECS service to what its Spec says and tells the truth about it:
// observe → plan → steps → watch → diagnose → roll back.
//
// Everything is derived from AWS at every start, so an Apply that was killed is continued by the
// next one. The decisions (which resources differ, what a failed deployment died of) are pure
// functions; the engine only reads, calls and waits, through the small ports declared here.
package deploy
