package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/registry"
)

// How long is waited for a replica, how often it is looked for, and how often that is told. ECR copies most
// images in less than 30 minutes, small ones in seconds; what is not there by then is copied here.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html
const (
	replicaWait = 2 * time.Minute
	replicaLook = 2 * time.Second
	replicaTell = 15 * time.Second
)

// bring puts the image, with what is recorded beside it, into the repository of the environment, and
// returns that repository. The digest stays the same. Where ECR replicates, that is awaited.
func (pr *project) bring(ctx context.Context, repo string, digest image.Digest, env string) (string, error) {
	own, err := pr.repositoryOf(ctx, env)
	if err != nil || own == repo {
		return repo, err
	}
	there, err := pr.holds(ctx, own, digest)
	if err != nil {
		return "", err
	}
	if !there {
		if there, err = pr.awaitReplica(ctx, repo, own, env, digest); err != nil {
			return "", err
		}
	}
	if !there {
		pr.p.Line("copying %s from %s to %s", digest.Short(), repo, own)
	}
	// Also of an image that is there: what was recorded since then is not.
	return own, pr.registry.Copy(ctx, repo, digest, own)
}

func (pr *project) holds(ctx context.Context, repo string, digest image.Digest) (bool, error) {
	_, err := pr.registry.Resolve(ctx, repo+"@"+string(digest))
	var none *registry.NotFoundError
	if errors.As(err, &none) {
		return false, nil
	}
	return err == nil, err
}

// awaitReplica waits for the image as long as ECR says that it replicates it. What cannot be asked, and what
// fails, is told, and no reason to fail: the image is copied then.
func (pr *project) awaitReplica(ctx context.Context, repo, own, env string, digest image.Digest) (bool, error) {
	source, to, ok := pr.replicable(ctx, repo, own, env)
	if !ok {
		return false, nil
	}
	cloud, err := pr.cloudIn(ctx, source.region)
	if err != nil {
		return false, err
	}
	switch yes, err := cloud.Replicates(ctx, source.account, source.name, to.account, to.region); {
	case err != nil:
		pr.p.Line("whether ECR replicates %s to %s in %s is not known: %v", source.name, to.account, to.region, err)
		return false, nil
	case !yes:
		return false, nil
	}
	pr.p.Line("waiting for the replica of %s in %s", digest.Short(), own)
	began := pr.now()
	for told := began; ; {
		there, err := pr.holds(ctx, own, digest)
		if there || err != nil {
			return there, err
		}
		r, err := cloud.Replication(ctx, source.name, string(digest), to.account, to.region)
		waited := pr.now().Sub(began).Round(time.Second)
		switch {
		case err != nil:
			pr.p.Line("how far ECR is with the replica cannot be asked: %v", err)
			return false, nil
		case r.Status == awscloud.ReplicationFailed:
			pr.p.Line("ECR could not replicate it: %s", r.Failure)
			return false, nil
		case r.Status == "":
			pr.p.Line("ECR does not replicate it: it was pushed before the rule was there")
			return false, nil
		case waited >= replicaWait:
			pr.p.Line("no replica after %s; ECR says %s", waited, r.Status)
			return false, nil
		case pr.now().Sub(told) >= replicaTell:
			told = pr.now()
			pr.p.Line("still waiting, %s of %s; ECR says %s", waited, replicaWait, r.Status)
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(replicaLook):
		}
	}
}

// ecrPlace is where a repository of ECR is.
type ecrPlace struct{ account, region, name string }

// placeOfARN reads arn:aws:ecr:region:account:repository/name.
func placeOfARN(arn string) (ecrPlace, bool) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || p[2] != "ecr" {
		return ecrPlace{}, false
	}
	name, ok := strings.CutPrefix(p[5], "repository/")
	return ecrPlace{p[4], p[3], name}, ok
}

// replicable says where two repositories are, if ECR could replicate one to the other: it keeps names.
func (pr *project) replicable(ctx context.Context, repo, own, env string) (source, to ecrPlace, ok bool) {
	_, target, err := pr.spec(env)
	if err != nil {
		return source, to, false
	}
	if source, ok = pr.placeOf(ctx, repo, ""); !ok {
		return source, to, false
	}
	if to, ok = pr.placeOf(ctx, own, target.Region); !ok {
		to, ok = pr.replicaOf(ctx, source, own, target.Region)
	}
	return source, to, ok && source.name == to.name && source != to
}

// replicaOf is the place of a repository of another account, whose address does not say which.
func (pr *project) replicaOf(ctx context.Context, source ecrPlace, own, region string) (ecrPlace, bool) {
	ref, err := image.ParseReference(own)
	if err != nil {
		return ecrPlace{}, false
	}
	cloud, err := pr.cloudIn(ctx, source.region)
	if err != nil {
		return ecrPlace{}, false
	}
	if region == "" {
		region = pr.cloud.Region()
	}
	account, err := cloud.ReplicaIn(ctx, ref.Repository, own, region)
	return ecrPlace{account, region, ref.Repository}, err == nil && account != ""
}

// placeOf is by the address ECR gives repositories. One that has none of these (the local AWS's) is asked itself,
// in the region it should be in.
func (pr *project) placeOf(ctx context.Context, repo, region string) (ecrPlace, bool) {
	ref, err := image.ParseReference(repo)
	if err != nil {
		return ecrPlace{}, false
	}
	if account, region, ok := image.ECR(ref.Registry); ok {
		return ecrPlace{account, region, ref.Repository}, true
	}
	cloud, err := pr.cloudIn(ctx, region)
	if err != nil {
		return ecrPlace{}, false
	}
	r, err := cloud.Repositories().Read(ctx, ref.Repository)
	if err != nil || r.URI != repo {
		return ecrPlace{}, false // a registry of another kind
	}
	return placeOfARN(r.ARN)
}
