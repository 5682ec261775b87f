// Package balancer is the data plane of Elastic Load Balancing in the local AWS: real listeners on
// loopback addresses that carry real traffic to real targets, as an Application or Network Load
// Balancer does.
//
// It knows nothing of the API or the state. Whoever runs it hands it a Config with every change;
// Apply swaps what requests see in one step. A request that began under the old Config ends under
// it. Connections to targets outlive a swap, so that nothing is cut while targets come and go.
package balancer
