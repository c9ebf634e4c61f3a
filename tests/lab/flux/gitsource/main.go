// Command gitsource takes the place of Flux's source-controller in the lab, where that does not build from published
// modules alone. It does what kustomize-controller needs of it, and nothing else: for each GitRepository it looks at the
// branch when spec.interval is over or somebody asked by the annotation reconcile.fluxcd.io/requestedAt, packs the
// commit's files, serves the archive, and says so in the status. No credentials, no signatures, no other kinds of source.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	conditions "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// A server that does not answer must not hold up the other repositories for ever.
const gitDeadline = 20 * time.Second

func git(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitDeadline)
	defer cancel()
	command := exec.CommandContext(ctx, "git", args...)
	command.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null")
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}

type source struct {
	client.Client
	folder  string
	address string
}

// branchOf is the branch that is followed; Flux's own default is master, ours is what git init makes today.
func branchOf(repository *sourcev1.GitRepository) string {
	if reference := repository.Spec.Reference; reference != nil && reference.Branch != "" {
		return reference.Branch
	}
	return "main"
}

// artifact is the archive of the branch's newest commit, made if it is not there yet.
func (s *source) artifact(ctx context.Context, repository *sourcev1.GitRepository) (*meta.Artifact, error) {
	branch := branchOf(repository)
	listed, err := git(ctx, "ls-remote", "--exit-code", repository.Spec.URL, "refs/heads/"+branch)
	if err != nil {
		return nil, err
	}
	commit, _, _ := strings.Cut(string(listed), "\t")
	revision := branch + "@sha1:" + commit
	if known := repository.Status.Artifact; known != nil && known.Revision == revision {
		return known, nil
	}
	clone := filepath.Join(s.folder, "clones", string(repository.UID))
	if _, err := git(ctx, "init", "--quiet", "--bare", clone); err != nil {
		return nil, err
	}
	if _, err := git(ctx, "-C", clone, "fetch", "--quiet", "--depth=1", repository.Spec.URL, commit); err != nil {
		return nil, err
	}
	files, err := git(ctx, "-C", clone, "archive", "--format=tar", commit)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(files); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	place := path.Join("gitrepository", repository.Namespace, repository.Name, commit+".tar.gz")
	target := filepath.Join(s.folder, "served", place)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(target, packed.Bytes(), 0o644); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(packed.Bytes())
	size := int64(packed.Len())
	return &meta.Artifact{
		Path:           place,
		URL:            "http://" + s.address + "/" + place,
		Revision:       revision,
		Digest:         "sha256:" + hex.EncodeToString(digest[:]),
		LastUpdateTime: metav1.Now(),
		Size:           &size,
	}, nil
}

// Reconcile brings one GitRepository's status up to date.
func (s *source) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	repository := &sourcev1.GitRepository{}
	if err := s.Get(ctx, request.NamespacedName, repository); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if repository.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	before := repository.DeepCopy()
	ready := metav1.Condition{Type: meta.ReadyCondition, ObservedGeneration: repository.Generation}
	artifact, failure := s.artifact(ctx, repository)
	if failure != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, sourcev1.GitOperationFailedReason, failure.Error()
	} else {
		repository.Status.Artifact = artifact
		ready.Status, ready.Reason = metav1.ConditionTrue, meta.SucceededReason
		ready.Message = "stored artifact for revision '" + artifact.Revision + "'"
	}
	conditions.SetStatusCondition(&repository.Status.Conditions, ready)
	repository.Status.ObservedGeneration = repository.Generation
	if asked, ok := meta.ReconcileAnnotationValue(repository.Annotations); ok {
		repository.Status.SetLastHandledReconcileRequest(asked)
	}
	if err := s.Status().Patch(ctx, repository, client.MergeFrom(before)); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: repository.Spec.Interval.Duration}, nil
}

func run() error {
	folder := flag.String("folder", "", "where clones and archives are kept")
	address := flag.String("address", "127.0.0.1:9790", "where archives are served")
	flag.Parse()
	if *folder == "" {
		return fmt.Errorf("-folder is needed")
	}
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	if err := sourcev1.AddToScheme(scheme); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metrics.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	// Our own writes of the status are no reason to look again.
	told := predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	reconciler := &source{manager.GetClient(), *folder, *address}
	if err := ctrl.NewControllerManagedBy(manager).
		For(&sourcev1.GitRepository{}, builder.WithPredicates(told)).
		Complete(reconciler); err != nil {
		return err
	}
	served := filepath.Join(*folder, "served")
	if err := os.MkdirAll(served, 0o755); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- http.ListenAndServe(*address, http.FileServer(http.Dir(served))) }()
	context, cancel := context.WithCancelCause(ctrl.SetupSignalHandler())
	go func() { cancel(<-failed) }()
	return manager.Start(context)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gitsource:", err)
		os.Exit(1)
	}
}
