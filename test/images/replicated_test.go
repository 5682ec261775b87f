package images

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/release"
)

// Production is in another region, which ECR replicates to: the replica is deployed from there. What ECR cannot
// replicate is copied, and it is said why; so is what was pushed before the rule was there.
func TestPromotionToAnotherRegion(t *testing.T) {
	w := newWorks(t)
	ctx := t.Context()
	const region = "eu-west-1"
	here := ecr.NewFromConfig(w.aws.Config)
	there := ecr.NewFromConfig(w.aws.Config, func(o *ecr.Options) { o.Region = region })
	rules := func(prefix string) {
		t.Helper()
		if _, err := here.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &ecrtypes.ReplicationConfiguration{Rules: []ecrtypes.ReplicationRule{{
			Destinations:      []ecrtypes.ReplicationDestination{{Region: aws.String(region), RegistryId: aws.String("000000000000")}},
			RepositoryFilters: []ecrtypes.RepositoryFilter{{Filter: &prefix, FilterType: ecrtypes.RepositoryFilterTypePrefixMatch}}}}}}); err != nil {
			t.Fatal(err)
		}
	}
	promote := func() string {
		t.Helper()
		r := w.start("ci@example.com", "promote", "--from", "qa1", "--to", "prod")
		if code := r.wait(); code != cli.ExitOK {
			t.Fatalf("exit %d\n%s", code, r.said.String())
		}
		return r.said.String()
	}

	rules("app")
	first := w.release(commitA, "v1")
	var own string
	localtest.Eventually(t, "the replica is there", func() bool {
		out, err := there.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"app"}})
		if err != nil || *out.Repositories[0].RepositoryUri == w.uri {
			return false
		}
		own = *out.Repositories[0].RepositoryUri
		images, err := there.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: aws.String(string(first))}}})
		return err == nil && len(images.ImageDetails) == 1
	})
	definition := strings.Replace(fmt.Sprintf(worksDefinition, w.uri), "prod: { count: 1 }", fmt.Sprintf("prod: { count: 1, region: %s, repository: %q }", region, own), 1)
	if err := os.WriteFile(filepath.Join(w.dir, "slipway.yaml"), []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	w.slipway("deploy", "qa1", "--image", "v1")
	if said := promote(); strings.Contains(said, "copying") {
		t.Errorf("a replica that is there is copied again:\n%s", said)
	}
	abroad, err := awscloud.Open(ctx, awscloud.Options{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := abroad.Deploy().Read(ctx, deploy.Ref{Cluster: "main", Service: "app-prod"})
	if err != nil || seen.Image != own+"@"+string(first) {
		t.Errorf("prod runs %s, its repository is %s (%v)", seen.Image, own, err)
	}
	statements, err := w.ledger().Read(ctx, own, first)
	if _, ok := release.Last(statements, release.DeployedTo, "prod"); err != nil || !ok {
		t.Errorf("beside the replica there is %v (%v)", statements, err)
	}

	// A tag that cannot be moved there, and has other content here.
	if _, err := there.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: aws.String("app"), ImageTagMutability: ecrtypes.ImageTagMutabilityImmutable}); err != nil {
		t.Fatal(err)
	}
	w.untag("v1")
	second := w.release(commitB, "v1")
	w.slipway("deploy", "qa1", "--image", string(second))
	// The last tag that is pushed is the one that cannot be there; the image came with the ones before.
	if _, err := there.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: aws.String(string(second))}}}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "ECR gives up", func() bool {
		out, err := here.DescribeImageReplicationStatus(ctx, &ecr.DescribeImageReplicationStatusInput{RepositoryName: aws.String("app"), ImageId: &ecrtypes.ImageIdentifier{ImageDigest: aws.String(string(second))}})
		return err == nil && len(out.ReplicationStatuses) == 1 && out.ReplicationStatuses[0].Status == ecrtypes.ReplicationStatusFailed
	})
	if said := promote(); !strings.Contains(said, "ECR could not replicate it: ImageTagAlreadyExists") || !strings.Contains(said, "copying "+second.Short()) {
		t.Errorf("a replication that failed:\n%s", said)
	}

	rules("other")
	third := w.release("ccccccc0a8c45c40f4ab9c01c1b4e6ee1cba8a1c", "v3")
	rules("app")
	w.slipway("deploy", "qa1", "--image", string(third))
	if said := promote(); !strings.Contains(said, "pushed before the rule") || !strings.Contains(said, "copying "+third.Short()) {
		t.Errorf("an image from before the rule:\n%s", said)
	}
}

// Production's images are in another account, which lets this one replicate to it and push there.
func TestPromotionToAnotherAccount(t *testing.T) {
	w := newWorks(t)
	ctx := t.Context()
	const account = "222222222222"
	here := ecr.NewFromConfig(w.aws.Config)
	there := ecr.NewFromConfig(w.aws.Config, func(o *ecr.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(account, "test", "")
	})
	allowed := `{"Version":"2012-10-17","Statement":[{"Sid":"push","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"ecr:*"}]}`
	made, err := there.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("app")})
	if err != nil {
		t.Fatal(err)
	}
	own := *made.Repository.RepositoryUri
	if _, err := there.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: &allowed}); err != nil {
		t.Fatal(err)
	}
	if _, err := here.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &ecrtypes.ReplicationConfiguration{Rules: []ecrtypes.ReplicationRule{{
		Destinations: []ecrtypes.ReplicationDestination{{Region: aws.String("us-east-1"), RegistryId: aws.String(account)}}}}}}); err != nil {
		t.Fatal(err)
	}
	definition := strings.Replace(fmt.Sprintf(worksDefinition, w.uri), "prod: { count: 1 }", fmt.Sprintf("prod: { count: 1, repository: %q }", own), 1)
	if err := os.WriteFile(filepath.Join(w.dir, "slipway.yaml"), []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}

	// The account does not let this one replicate yet: what ECR says is told, and the image is copied.
	first := w.release(commitA, "v1")
	localtest.Eventually(t, "ECR gives up", func() bool {
		out, err := here.DescribeImageReplicationStatus(ctx, &ecr.DescribeImageReplicationStatusInput{RepositoryName: aws.String("app"), ImageId: &ecrtypes.ImageIdentifier{ImageDigest: aws.String(string(first))}})
		return err == nil && len(out.ReplicationStatuses) == 1 && out.ReplicationStatuses[0].Status == ecrtypes.ReplicationStatusFailed
	})
	w.slipway("deploy", "qa1", "--image", "v1")
	r := w.start("ci@example.com", "promote", "--from", "qa1", "--to", "prod")
	if code := r.wait(); code != cli.ExitOK || !strings.Contains(r.said.String(), "ECR could not replicate it: ") || !strings.Contains(r.said.String(), "copying "+first.Short()) {
		t.Fatalf("exit %d\n%s", code, r.said.String())
	}
	seen, err := w.cloud.Deploy().Read(ctx, deploy.Ref{Cluster: "main", Service: "app-prod"})
	if err != nil || seen.Image != own+"@"+string(first) {
		t.Errorf("prod runs %s, its repository is %s (%v)", seen.Image, own, err)
	}
}
